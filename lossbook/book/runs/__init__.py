"""What runs and checks chapters."""

"""What makes pages."""

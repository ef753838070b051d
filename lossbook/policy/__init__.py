"""Losses of policies that learn from rewards."""

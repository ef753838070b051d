"""Losses on classes and binary labels."""

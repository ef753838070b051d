"""Losses on sequences whose alignment with the input is unknown."""

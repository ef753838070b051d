"""Losses on boxes: where the objects are and what they are."""

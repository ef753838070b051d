"""Losses on masks: overlap, distance and edges."""

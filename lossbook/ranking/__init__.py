"""Losses on the order of scores."""

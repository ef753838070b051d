"""Losses on probability distributions."""

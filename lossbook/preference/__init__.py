"""Losses on which of two answers is better."""

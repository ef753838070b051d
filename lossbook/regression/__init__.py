"""Losses on real-valued targets."""

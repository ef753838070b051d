"""Losses on distances and angles between embeddings."""

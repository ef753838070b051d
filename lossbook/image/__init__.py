"""Losses on images and on their features."""

"""Losses of language models: tokens, vocabularies, routers."""

"""Losses of generative adversarial networks: what each of the two players minimizes."""

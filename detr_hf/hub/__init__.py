"""A run on the Hub: its model with a card that tells where it came from, and how to use it without us."""

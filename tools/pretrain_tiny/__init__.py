"""Pretraining of the tiny checkpoint that the demo fine-tunes: ``python -m tools.pretrain_tiny --help``."""

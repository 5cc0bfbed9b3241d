"""Sinks: what a data set is written to."""

"""Suspected label faults of a data set, by what models that did not learn from an image see in it."""

"""A family is one kind of network, with one file here; `base.py` says what the package asks of each."""

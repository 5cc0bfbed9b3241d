"""A folder of raw exports in, one checked and split data set out, in steps that can be resumed."""

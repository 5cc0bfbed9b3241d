"""Advice: facts of a data set (`look`), a table of settings with reasons (`settings`), recipes (`write`)."""

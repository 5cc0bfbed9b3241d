"""Which unlabeled images to annotate next."""

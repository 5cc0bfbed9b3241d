"""Raw exports and saved data sets in, one :class:`~detr_hf.prepare.bundle.DataBundle` out."""

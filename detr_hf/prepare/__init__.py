"""Raw exports and saved data sets in, one :class:`~detr_hf.data.bundle.DataBundle` out."""

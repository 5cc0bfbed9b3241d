"""Raw class folders as they lie on the disk, both layouts."""

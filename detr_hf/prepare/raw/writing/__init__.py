"""Id maps painted, a data set written, read back and published."""

"""Which picture is for training and which for validation."""

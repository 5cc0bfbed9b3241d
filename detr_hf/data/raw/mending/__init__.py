"""Pictures and outlines put right, one picture at a time."""

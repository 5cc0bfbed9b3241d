"""What went in, what came out, and what was done to it."""

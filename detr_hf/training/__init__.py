"""One run: set up, loop, evaluate, checkpoint, log. The loop knows nothing about boxes or masks; tasks do."""

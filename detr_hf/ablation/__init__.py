"""An ablation: variants of a recipe, each with several seeds, and the table of their scores."""

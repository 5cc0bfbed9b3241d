"""The two stages: a detector (boxes) and a segmenter (masks), their matching, losses and panoptic merge."""

"""Stuff painted by a pretrained panoptic DETR."""

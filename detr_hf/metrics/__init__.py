"""Numbers for a run: box AP and panoptic quality as ``evaluate`` metrics, and the tables that show them."""

"""Ours beside stock transformers, in one run: ``python -m benchmarks``.

Each case is one piece of work that both do. Each side gets a fresh process, builds the same seeded model
and data, and does the work once for its peak memory and its outcome. Then the two living processes take
turns, one working while the other waits, so that a machine that slows down slows both. Reported are medians
and ratios stock / ours. The case ``families`` does the same with the families of detectors, beside DETR.
"""

"""`detr-hf check`: every fault of a data set that a training run would trip over or learn wrongly, at once.

The rules are those of the reader (`detr_hf.prepare.rows`), which speaks first on every picture; what a run
would swallow and learn wrongly is added here. `run.check_data` gives a `ledger.CheckResult`.
"""

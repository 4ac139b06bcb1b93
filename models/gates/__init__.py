"""Whether a candidate model may be served. Where the figures do not say so, it may not.

Arrays come in, a decision goes out: no Kafka, no RocksDB, no torch. The trainer judges by it before it publishes a
bundle, the learner while a canary runs, tests and `trieflow bench learning --gates` the gates themselves. A module
here may import `streams` and `models.bundles`. Read `verdict.py` first, then the gates in order: `guard.py`,
`clicks.py`, `exposure.py`, `canary.py` with `interleaving.py`, `widening.py`.
"""

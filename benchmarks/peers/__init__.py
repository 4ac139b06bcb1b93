"""Other engines for nearest neighbours behind one protocol, each tuned as its own documentation says.

`contract.py` says what an engine is for the benchmarks and is to be read first; one file an engine; `registry.py`
has their names; `process.py` runs one in a process of its own. Their packages are in the extra `bench`.
"""

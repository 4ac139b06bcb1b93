"""The commands, one file for a kind of work: running, documents, searching, operating, trying.

Each function reads its options, asks `trieflow.*` for the work and prints. Imports of the work stand inside the
functions, so that `trieflow --help` answers at once. Read first: `searching.py`.
"""

"""Ways to decode only ids that exist: the live trie and what others do, behind one protocol.

`contract.py` says what each can do and is to be read first; `made_ids.py` makes ids and scores to measure with.
May import from the project's floors; each file imports its own library.
"""

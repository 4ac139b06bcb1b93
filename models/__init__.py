"""Models: everything that turns documents and queries into numbers, and numbers into semantic ids.

Here stand pictures (decoding untrusted bytes), encoders, codebooks, decoders, bundles and the gates that candidates
pass. A module here may import `streams` (contracts and errors) and nothing above: never `state`, `agents` or
`trieflow`.
Read `encoders/base.py` first: one protocol, by which every encoder is used.
"""

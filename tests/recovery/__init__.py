"""Kills, pauses, wiped disks and a broker that goes away: what is published must outlive all of it.

`processes.py` runs real worker processes, `system.py` a whole system under a topic prefix of its own,
`workload.py` makes events and says what must become of each, `invariants.py` compares that with every record
that the system wrote. Read first: `invariants.py`.
"""

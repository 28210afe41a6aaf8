"""The fault suite: what it does to real processes, and what the job table says meanwhile. `faults.py` runs it."""

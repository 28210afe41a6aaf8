"""Profiles: statistics of datasets' columns, calculated at one snapshot, kept, and drawn to look at."""

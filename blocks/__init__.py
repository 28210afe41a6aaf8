"""Blocks: what an operator fills in."""

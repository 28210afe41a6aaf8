"""By what runs of the same query are found again: a hash of its text, once it is written anew from its tree."""

from hashlib import sha256


def fingerprint(sql: str) -> str:
    """Return a hash of a checked query's SQL: the same for the same query, however it was laid out."""
    return sha256(sql.encode()).hexdigest()[:32]

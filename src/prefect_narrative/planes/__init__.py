"""Data planes: where data lives and queries run."""

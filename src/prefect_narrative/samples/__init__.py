"""Samples: some rows of a dataset, a view or a query, kept as they were, to look at."""

"""Forecasts: what a query would read, return and take, without running it."""

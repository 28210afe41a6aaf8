"""Materialized views: their definitions and schedules."""

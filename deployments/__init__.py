"""Deployments: what is deployed, and how that is applied."""

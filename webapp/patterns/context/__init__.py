"""Fit conversations into context windows."""

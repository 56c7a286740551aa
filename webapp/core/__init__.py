"""Helpers that every app may use."""

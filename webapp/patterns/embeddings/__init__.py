"""Embed texts and find the nearest."""

"""Markdown to safe HTML: every text of a model, a file or another person reaches a page through this package."""

"""Markdown to safe HTML: the one way that what a model, a file or a stranger wrote reaches a page."""

"""Render Markdown as safe HTML: the only way for text of a model, a file, or another user onto a page."""

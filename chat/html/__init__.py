"""Render conversations as HTML."""

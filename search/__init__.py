"""Document search."""

"""Count tokens."""

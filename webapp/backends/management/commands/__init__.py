"""Management commands for backends."""

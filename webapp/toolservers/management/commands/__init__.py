"""Management commands for tool servers."""

"""Status, usage and retention."""

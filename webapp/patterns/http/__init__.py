"""The HTTP client of the stream path."""

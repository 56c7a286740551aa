"""What knows a vendor: the Backend protocol, the openai package, and the stream decoder."""

"""Connect to MCP servers."""

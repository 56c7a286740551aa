"""Patchbay as an MCP server at `/mcp`."""

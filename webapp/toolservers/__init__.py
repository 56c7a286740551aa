"""MCP servers whose tools the chat and `/v1/responses` may use."""

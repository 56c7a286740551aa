"""Drivers for `@modelcontextprotocol/conformance` (docs/testing.md says how to run it)."""

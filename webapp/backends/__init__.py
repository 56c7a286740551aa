"""Backends, routes, tokens, attempts and usage."""

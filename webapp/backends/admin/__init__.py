"""The configuration admin, one module a subject."""

from webapp.backends.admin import attempts, backends, routes, tokens

__all__ = ["attempts", "backends", "routes", "tokens"]

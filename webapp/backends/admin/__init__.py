"""The configuration admin, one module a subject."""

from webapp.backends.admin import attempts, backends, benchmarks, models, routes, tokens

__all__ = ["attempts", "backends", "benchmarks", "models", "routes", "tokens"]

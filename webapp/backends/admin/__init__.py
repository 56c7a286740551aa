"""The admin of the configuration, one module per subject."""

from webapp.backends.admin import attempts, backends, benchmarks, models, routes, tokens

__all__ = ["attempts", "backends", "benchmarks", "models", "routes", "tokens"]

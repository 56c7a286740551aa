"""The configuration of backends and routes, and its checks."""

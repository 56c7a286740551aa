"""The ASGI server, middleware, logs and workers."""

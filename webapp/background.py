"""What runs beside the requests in the server process: registered by apps when they load, started and stopped with the server.

A service is an async context manager: entering starts its tasks, leaving stops them within seconds. `manage.py up` (both servers) enters
all of them through the ASGI lifespan.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

Service = Callable[[], AbstractAsyncContextManager[None]]

_services: dict[str, Service] = {}


def register(name: str, service: Service) -> None:
    """Have `service` run in every server process; the name is for logs and must be new."""
    if name in _services:
        raise ValueError(f"a background service named {name!r} exists")
    _services[name] = service


@asynccontextmanager
async def running() -> AsyncGenerator[None, None]:
    """All registered services, started in order and stopped in reverse."""
    async with AsyncExitStack() as stack:
        for service in _services.values():
            await stack.enter_async_context(service())
        yield

"""The connections that Daphne has open, as the sweep sees them."""

from __future__ import annotations

from types import SimpleNamespace

from webapp.server.channel import Channel, Factory


class Other:
    """A protocol that a connection changed to: a websocket's."""


def test_connections_that_became_websockets_are_forgotten_also_once_they_are_closed() -> None:
    """A closed transport has no protocol any more; nothing is thrown, which would end the sweep for all that come after it."""
    factory = Factory(None, request=object, most=10)
    for transport in (SimpleNamespace(), SimpleNamespace(protocol=Other())):
        channel = Channel()
        channel.transport = transport
        factory.channels[channel] = None
    factory.sweep()
    assert factory.channels == {}

"""Serve with subclasses of Daphne (docs/adr/0001).

The subclasses depend on names that Daphne, Twisted, and autobahn do not document. PRIVATE_NAMES lists them all. A test compares the list
with the installed packages and with this package's sources, so that an upgrade which removes a name fails with that name.
"""

from __future__ import annotations

from typing import Final

PRIVATE_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "daphne.server": ("HTTPFactory",),
    "daphne.http_protocol:WebRequest": ("_response_started",),
    "twisted.web.http:Request": ("_disconnected",),
    "twisted.web.http:HTTPChannel": (
        "_buffer",
        "_command",
        "_handlingRequest",
        "_maybeChooseTransferDecoder",
        "_networkProducer",
        "_path",
        "_receivedHeaderCount",
        "_receivedHeaderSize",
        "_respondToBadRequestAndDisconnect",
        "_send100Continue",
        "_transferDecoder",
        "_version",
    ),
    "twisted.internet.tcp:Server": ("_tempDataLen",),
    "twisted.internet.asyncioreactor:AsyncioSelectorReactor": ("_asyncioEventloop", "_readOrWrite"),
    "autobahn.websocket.protocol:WebSocketProtocol": ("_perMessageCompress",),
}
"""Names by module, or by module and class."""

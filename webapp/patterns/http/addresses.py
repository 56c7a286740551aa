"""Decide which network addresses a backend may have: any except link-local and metadata ones, in every notation (FAULTS 14).

Loopback and private networks are allowed, because administrators enter backends and most backends run there.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import unicodedata
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from webapp.patterns.errors import InputError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA: Final = frozenset(
    ipaddress.ip_address(address)
    for address in ("169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_NAT64_LOCAL: Final = ipaddress.ip_network("64:ff9b:1::/48")
"""Translated to IPv4 by the network's own rules (RFC 8215): no address in it counts as public."""
_IPV4_COMPATIBLE: Final = ipaddress.ip_network("::/96")
_NAMES: Final = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"})
REFUSAL: Final = "is a link-local or metadata address, which no backend may have"
INSIDE: Final = "is not a public address"


def is_forbidden(address: str) -> bool:
    """Return whether an IP address, as text, is link-local or a metadata service, including inside an IPv6 address."""
    return any(inner.is_link_local or inner in _METADATA for inner in _inner(ipaddress.ip_address(address.partition("%")[0])))


def is_inside(address: str) -> bool:
    """Return whether an IP address, as text, is not public: this machine, a private network, multicast, also inside an IPv6 one."""
    found = ipaddress.ip_address(address.partition("%")[0])
    return found.is_multicast or found in _NAT64_LOCAL or not all(inner.is_global for inner in _inner(found))


def check_base_url(url: str) -> None:
    """Refuse an address that is visibly wrong without DNS. Names are checked again on connection.

    Raises:
        InputError: it is not an http(s) URL, or is a forbidden address in any notation.
    """
    check_url(url)


def check_url(url: str, *, public: bool = False) -> None:
    """Refuse the same for any called address. `public` addresses must also not be of this machine or a private network."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"{url!r} is not a URL: {error}", param="base_url") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise InputError("The address must begin with http:// or https:// and name a host.", param="base_url")
    literal = as_literal(host)
    if host.rstrip(".").lower() in _NAMES or (literal and is_forbidden(literal)):
        raise InputError(f"{host} {REFUSAL}.", param="base_url")
    if public and (host.rstrip(".").lower() == "localhost" or (literal and is_inside(literal))):
        raise InputError(f"{host} {INSIDE}.", param="base_url")


def as_literal(host: str) -> str | None:
    """Return a host's address in plain notation; None for a name.

    Decimal, hexadecimal, octal, and short forms count, as for connect(), and digits and dots of other scripts, as for IDNA.
    """
    host = unicodedata.normalize("NFKC", host).replace("\u3002", ".")
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None


async def resolve(host: str, port: int) -> list[str]:
    """Return the IP addresses of a host, in the order to try them.

    Raises:
        OSError: the name does not exist.
    """
    literal = as_literal(host)
    if literal:
        return [literal]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def _inner(address: Address) -> Iterator[Address]:
    """Return the address, and the IPv4 addresses that it contains."""
    yield address
    if isinstance(address, ipaddress.IPv4Address):
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if address in _NAT64 or address in _IPV4_COMPATIBLE:
        yield ipaddress.IPv4Address(address.packed[-4:])

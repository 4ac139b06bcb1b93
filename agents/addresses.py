"""Which network addresses content may be fetched from, and how a host name becomes such addresses.

The rule is an allow-list, not a list of bad ranges: globally routed unicast, nothing else. IPv6 forms that
carry an IPv4 address inside (mapped, compatible, 6to4, Teredo, NAT64) are refused as a whole, for they are
ways around a check.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from streams.errors import DataError

Address = IPv4Address | IPv6Address
Resolver = Callable[[str, int], list[Address]]
AddressPolicy = Callable[[Address], bool]

GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291; mapped, compatible and NAT64 addresses lie outside


def is_public(address: Address) -> bool:
    """Whether the address is globally routed unicast: not loopback, private, multicast, reserved …"""
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if isinstance(address, IPv4Address):
        return True
    return address in GLOBAL_UNICAST and address.sixtofour is None and address.teredo is None


def resolve(host: str, port: int) -> list[Address]:
    """Return all addresses of a host name, in the system's order of preference.

    Raises socket.gaierror when there is none, DataError `forbidden_address` for what cannot be a host name.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # empty or endless labels
        raise DataError("forbidden_address", f"{host[:64]!r} is not a host name") from error
    return [ip_address(str(entry[4][0])) for entry in found]


def literal_address(host: str) -> Address | None:
    """Return the address when the host is written as one, else None.

    Raises DataError `forbidden_address` for numbers in disguise, which the C library would read as an IPv4
    address: decimal (`2130706433`), octal (`0177.0.0.1`), hexadecimal (`0x7f000001`), short forms (`127.1`).
    """
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        socket.inet_aton(host.rstrip("."))
    except (OSError, ValueError):  # a name, which is the usual case
        return None
    raise DataError("forbidden_address", f"{host!r} is a disguised numeric address")

"""Owns which internet addresses are public; it must not know names, links or connections.

The verdict is the same on every Python: `ipaddress.is_global` of one release calls public what that of another does
not (NAT64 and 6to4 forms of 127.0.0.1, `fec0::1`, 192.88.99.1, multicast), so our own list decides first.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

__all__ = ["is_public"]

# Ranges that lead to this machine, to its neighbours or to nobody; of a range with exceptions all is refused.
REFUSED_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network; Linux takes 0.0.0.0 for this machine
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, neither private nor global for Python; 100.100.100.200 tells secrets
        "127.0.0.0/8",
        "168.63.129.16/32",  # the inside of one cloud's machines, though it looks public
        "169.254.0.0/16",  # link-local: 169.254.169.254 tells a cloud machine's secrets
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; 192.0.0.192 is another such teller
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112: every network may have its own
        "192.52.193.0/24",  # multicast relays, likewise
        "192.88.99.0/24",  # 6to4 relays, likewise
        "192.168.0.0/16",
        "192.175.48.0/24",  # AS112 again
        "198.18.0.0/15",  # benchmarks between a network's own devices
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
UNICAST_6 = IPv6Network("2000::/3")  # all that was ever given out for public use lies in here
REFUSED_6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # an experiment, given back
        "3fff::/20",  # documentation
    )
)
NAT64 = IPv6Network("64:ff9b::/96")  # how a network with IPv6 alone names every IPv4 host there is


def is_public(address: str) -> bool:
    """Tell whether `address`, an IPv4 or IPv6 address as text, is one that the whole internet reaches.

    An IPv4-mapped or NAT64 address is as public as the IPv4 address inside. Whatever a 6to4, Teredo, IPv4-compatible
    or local NAT64 (64:ff9b:1::/48) address has inside, it is not public: none of these is a host's way to be found.
    Nor is an address with a zone, nor a text that is no address.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return _is_public_4(found) if isinstance(found, IPv4Address) else _is_public_6(found)


def _is_public_4(address: IPv4Address) -> bool:
    return not any(address in network for network in REFUSED_4) and address.is_global


def _is_public_6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if (inner := _inner(address)) is not None:
        return _is_public_4(inner)
    refused = address not in UNICAST_6 or any(address in network for network in REFUSED_6)
    return not refused and address.is_global


def _inner(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that a mapped or NAT64 address stands for."""
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped

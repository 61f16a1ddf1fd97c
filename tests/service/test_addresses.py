"""Which addresses are public: the same on every Python, whatever form an address is put in."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.service.addresses import is_public

PUBLIC = {
    "IPv4": "1.1.1.1 8.8.8.8 93.184.216.34 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 168.63.129.15"
    " 169.253.255.255 172.15.255.255 172.32.0.0 192.0.1.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0"
    " 198.17.255.255 198.20.0.0 203.0.112.255 223.255.255.255",
    "IPv6": "2001:200::1 2001:4860:4860::8888 2606:4700:4700::1111 2620:4f:8001::1 2a00:1450::200e 3ffd:ffff::1",
    "mapped": "::ffff:8.8.8.8 ::ffff:808:808",
    "NAT64": "64:ff9b::8.8.8.8 64:ff9b::808:808",
}

REFUSED = {
    "this machine": "127.0.0.1 127.0.0.53 127.255.255.255 0.0.0.0 0.1.2.3 ::1 ::",
    "private": "10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 192.168.255.255 fc00::1 fdff::1 fec0::1",
    "carrier-grade NAT": "100.64.0.0 100.64.0.1 100.127.255.255",
    "link-local": "169.254.0.1 169.254.255.255 fe80::1 febf::1",
    "metadata": "169.254.169.254 169.254.170.2 100.100.100.200 192.0.0.192 168.63.129.16 fd00:ec2::254 fd20:ce::254",
    "protocol assignments": "192.0.0.1 192.0.0.9 192.0.0.10 192.0.0.170 192.0.0.255 2001:1::1 2001:1::2 2001:1ff::1",
    "anycast": "192.88.99.1 192.31.196.1 192.52.193.1 192.175.48.1 2001:3::1 2001:4:112::1 2620:4f:8000::1",
    "documentation": "192.0.2.1 198.51.100.1 203.0.113.1 2001:db8::1 3fff::1 3fff:fff::1",
    "benchmarks": "198.18.0.1 198.19.255.255 2001:2::1",
    "identifiers": "2001:10::1 2001:20::1 2001:30::1 5f00::1",
    "multicast": "224.0.0.1 239.255.255.255 ff02::1 ff05::2 ff0e::1",
    "reserved": "240.0.0.1 255.255.255.254 255.255.255.255 100::1 200::1 3ffe::1 4000::1 8000::1 e000::1",
    "mapped": "::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:100.64.0.1 ::ffff:0.0.0.0",
    "translated": "::ffff:0:127.0.0.1 ::ffff:0:8.8.8.8",
    "compatible": "::127.0.0.1 ::7f00:1 ::169.254.169.254 ::8.8.8.8",
    "NAT64": "64:ff9b::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b::10.0.0.1"
    " 64:ff9b::100.64.0.1 64:ff9b::e000:1",
    "local NAT64": "64:ff9b:1::127.0.0.1 64:ff9b:1::8.8.8.8 64:ff9b:1:ffff::1 64:ff9b:0:1::808:808"
    " 64:ff9b::1:0:808:808",
    "6to4": "2002:7f00:1::1 2002:a9fe:a9fe::1 2002:a00:1:: 2002:808:808::1 2002::",
    "Teredo": "2001:0:7f00:1::1 2001:0:4136:e378:8000:63bf:80ff:fffe 2001::1 2001:0:808:808:0:ffff:f7f7:f7f7",
    "with a zone": "fe80::1%eth0 fe80::1%1 2606:4700:4700::1111%eth0 ::1%lo ::ffff:8.8.8.8%1 64:ff9b::8.8.8.8%2",
    "no address": "localhost 2130706433 0x7f000001 0177.0.0.1 127.1 127.0.0.01 8.8.8 8.8.8.8.8 8.8.8.8/32 [::1]"
    " 1::2::3 １２７.0.0.1 8.8.8.8\n -1 % 8.8.8.8%1 ::ffff:8.8.8.8:443",
}


def each(table):
    """Return (kind, address) for each address of a table."""
    return [(kind, address) for kind, some in table.items() for address in some.split(" ")]


octets = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)


@pytest.mark.parametrize(("kind", "address"), each(PUBLIC))
def test_an_address_of_the_internet_is_public(kind, address):
    """Right up to the borders of the ranges that are not; and so is what stands for one."""
    assert is_public(address), kind


@pytest.mark.parametrize(("kind", "address"), each(REFUSED))
def test_any_other_address_is_not(kind, address):
    """This machine, its neighbours, its cloud's inside, nobody at all, and all of these in disguise."""
    assert not is_public(address), kind


@pytest.mark.parametrize("address", ["", " ", " 8.8.8.8", "8.8.8.8 ", "\x00", "8.8.8.8\x00", "\ud800", "9" * 5000])
def test_what_is_no_address_is_not_public(address):
    """Whatever text it is, the answer is no, never an error."""
    assert not is_public(address)


def test_the_verdict_does_not_hang_on_what_this_python_calls_global(monkeypatch):
    """Were everything global for `ipaddress`, as much was on older ones, what is refused would still be refused."""
    for kind in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        monkeypatch.setattr(kind, "is_global", property(lambda _: True))

    assert [] == [address for _, address in each(REFUSED) if is_public(address)]


@given(inner=octets)
def test_an_ipv4_address_is_as_public_in_the_forms_that_stand_for_it(inner):
    """Mapped and NAT64 forms get the verdict of the address inside."""
    assert is_public(str(inner)) == is_public(f"::ffff:{inner}") == is_public(f"64:ff9b::{inner}")


@given(inner=octets, rest=st.integers(0, 2**80 - 1))
def test_no_form_of_a_tunnel_is_public_whatever_is_inside(inner, rest):
    """6to4, Teredo, IPv4-compatible and local NAT64 forms of any address, good ones too."""
    forms = (
        0x2002 << 112 | int(inner) << 80 | rest,
        0x20010000 << 96 | int(inner) << 64 | rest % 2**64,
        int(inner),
        0x64FF9B0001 << 80 | rest,
    )

    assert [] == [form for form in map(str, map(ipaddress.IPv6Address, forms)) if is_public(form)]


@given(address=st.ip_addresses(v=4) | st.ip_addresses(v=6, network="2000::/3"))
def test_a_public_address_is_global_unicast(address):
    """Nothing is public that Python calls private, multicast, reserved, link-local, loopback or unspecified."""
    bad = ("is_private", "is_multicast", "is_reserved", "is_link_local", "is_loopback", "is_unspecified")

    assert not is_public(str(address)) or [] == [name for name in bad if getattr(address, name)]


@given(text=st.text())
def test_no_text_breaks_the_judge(text):
    """Any text at all has a verdict."""
    assert is_public(text) in (True, False)

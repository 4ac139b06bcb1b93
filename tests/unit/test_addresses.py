from __future__ import annotations

from ipaddress import ip_address

import pytest

from agents.addresses import is_public, literal_address, resolve
from streams.errors import DataError

NOT_PUBLIC = [
    *["0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254"],
    *["169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.1.1"],
    *["198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1"],
    *["255.255.255.255", "::", "::1", "::7f00:1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:8.8.8.8"],
    *["64:ff9b::8.8.8.8", "64:ff9b:1::8.8.8.8", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::"],
    *["2002:808:808::", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1"],
    *["ff0e::1", "4000::1"],
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_globally_routed_unicast_is_refused(address: str):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"])
def test_a_globally_routed_address_is_allowed(address: str):
    assert is_public(ip_address(address))


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "127.0.0.1."])
def test_a_number_in_disguise_is_refused_before_anybody_reads_it_as_an_address(host: str):
    with pytest.raises(DataError) as caught:
        literal_address(host)
    assert caught.value.code == "forbidden_address"


def test_a_name_is_no_literal_and_an_address_is_one():
    assert literal_address("pictures.example") is None
    assert literal_address("cafe.example") is None
    assert literal_address("::1") == ip_address("::1")
    assert literal_address("127.0.0.1") == ip_address("127.0.0.1")


def test_the_system_resolver_gives_all_addresses_of_a_name():
    assert set(resolve("localhost", 80)) <= {ip_address("127.0.0.1"), ip_address("::1")}


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example"])
def test_what_cannot_be_a_host_name_is_refused(host: str):
    with pytest.raises(DataError) as caught:
        resolve(host, 80)
    assert caught.value.code == "forbidden_address"

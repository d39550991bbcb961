"""Endpoints: published when they change, refused by name beforehand, and known when they may be published again."""

from __future__ import annotations

import pytest
from chain.opskit import MINERS, NETUID, PALLET, VALIDATORS, running, ss58
from hypothesis import given
from hypothesis import strategies as st

from mycelium.chain import serving
from mycelium.chain.dispatch import Subject
from mycelium.chain.outcome import Outcome, perform
from mycelium.chain.serving import certificate, endpoint, serve_axon, serve_axon_tls, serve_prometheus
from mycelium.errors import UsageError
from mycelium.identity.keys import Keypair

ME, MINER, STRANGER = VALIDATORS[1], MINERS[0], Keypair.development("//stranger")
IP = "203.0.113.7"


@pytest.fixture
def link():
    with running(ServingRateLimit=10) as (chain, connection):
        chain.step()
        yield chain, connection


@pytest.mark.parametrize(
    ("serve", "read", "call"),
    [
        (serve_axon, serving.axon_of, "serve_axon"),
        (serve_prometheus, serving.prometheus_of, "serve_prometheus"),
    ],
)
def test_published_once_and_again_when_it_changes(link, serve, read, call):
    chain, connection = link
    assert read(connection, NETUID, ME) is None
    first = serve(connection, ME, NETUID, IP, 8091).check()
    assert (first.call, first.changed, first.fee_rao) == (f"{PALLET}.{call}", True, 0)
    assert first.endpoint.text == "203.0.113.7:8091"
    found = read(connection, NETUID, ss58(ME))
    assert (found["ip"], found["port"], found["version"]) == (IP, 8091, 1)
    # The same is sent no more, even where the rate limit would forbid it.
    same = serve(connection, ME, NETUID, IP, 8091).check()
    assert (same.call, same.changed, same.sent, same.success) == ("", False, False, True)
    # Another one must wait, and knows how long.
    refused = serve(connection, ME, NETUID, IP, 8092)
    assert (refused.rule, refused.sent) == ("ServingRateLimitExceeded", False)
    assert refused.retry_at_block == first.receipt.block_number + 10
    assert refused.retry_in_s == 9 * 0.25
    chain.step(9)
    again = serve(connection, ME, NETUID, IP, 8092).check()
    assert again.receipt.block_number == refused.retry_at_block
    assert read(connection, NETUID, ME)["port"] == 8092


@pytest.mark.parametrize(
    ("serve", "call"), [(serve_axon, "serve_axon"), (serve_prometheus, "serve_prometheus")]
)
def test_the_chain_agrees_with_the_rate_limit(link, serve, call):
    _, connection = link
    block = serve(connection, ME, NETUID, IP, 8091).check().receipt.block_number
    params = serve(connection, ME, NETUID, IP, 9, always=True).params
    result = perform(Outcome, connection, ME, Subject(call, ss58(ME), NETUID), params, ())
    assert (result.rule, result.retry_at_block) == ("ServingRateLimitExceeded", block + 10)


def test_always_publishes_what_is_unchanged(link):
    chain, connection = link
    serve_axon(connection, ME, NETUID, IP, 8091).check()
    chain.step(10)
    assert serve_axon(connection, ME, NETUID, IP, 8091, always=True).check().sent


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"protocol": 5}, {"placeholders": (1, 0)}, {"placeholders": (0, 1)}]
)
def test_every_field_counts_as_a_change(link, change):
    chain, connection = link
    serve_axon(connection, ME, NETUID, IP, 8091).check()
    chain.step(10)
    assert serve_axon(connection, ME, NETUID, IP, 8091, **change).check().changed


def test_an_axon_is_withdrawn(link):
    chain, connection = link
    serve_axon(connection, ME, NETUID, IP, 8091).check()
    chain.step(10)
    serve_axon(connection, ME, NETUID, "0.0.0.0", 1).check()
    assert serving.axon_of(connection, NETUID, ME) is None


def test_ipv6(link):
    _, connection = link
    done = serve_axon(connection, ME, NETUID, "2001:db8::1", 8091).check()
    assert done.endpoint.text == "[2001:db8::1]:8091"
    assert serving.axon_of(connection, NETUID, ME)["ip"] == "2001:db8::1"


@pytest.mark.parametrize("public_key", [b"\x05", bytes(range(64)), b"text" * 8])
def test_with_a_key_for_tls(link, public_key):
    chain, connection = link
    key = certificate(1, public_key)
    done = serve_axon_tls(connection, ME, NETUID, IP, 8091, key).check()
    assert done.call == f"{PALLET}.serve_axon_tls"
    assert serving.certificate_of(connection, NETUID, ME) == key
    assert not serve_axon_tls(connection, ME, NETUID, IP, 8091, key).check().changed
    chain.step(10)
    other = certificate(2, public_key)
    assert serve_axon_tls(connection, ME, NETUID, IP, 8091, other).check().changed
    assert serving.certificate_of(connection, NETUID, ME) == other


@pytest.mark.parametrize("raw", [b"", b"\x01", bytes(66), bytes(1200)])
def test_certificates_that_the_chain_passes_over_are_not_sent(link, raw):
    _, connection = link
    with pytest.raises(UsageError, match=r"X\.509"):
        serve_axon_tls(connection, ME, NETUID, IP, 8091, raw)
    assert serving.axon_of(connection, NETUID, ME) is None


@pytest.mark.parametrize("algorithm", [-1, 256, 1.0, True])
def test_what_is_no_algorithm(algorithm):
    with pytest.raises(UsageError, match="algorithm"):
        certificate(algorithm, b"key")


@pytest.mark.parametrize(
    ("serve", "keypair", "ip", "port", "rule"),
    [
        (serve_axon, STRANGER, IP, 8091, "HotKeyNotRegisteredInNetwork"),
        (serve_axon, ME, "127.0.0.1", 8091, "InvalidIpAddress"),
        (serve_axon, ME, "255.255.255.255", 8091, "InvalidIpAddress"),
        (serve_axon, ME, "::1", 8091, "InvalidIpAddress"),
        (serve_axon, ME, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 8091, "InvalidIpAddress"),
        (serve_axon, ME, IP, 0, "InvalidPort"),
        (serve_prometheus, STRANGER, IP, 8091, "HotKeyNotRegisteredInNetwork"),
        (serve_prometheus, ME, "0.0.0.0", 8091, "InvalidIpAddress"),
        (serve_prometheus, ME, "::1", 8091, "InvalidIpAddress"),
        (serve_prometheus, ME, IP, 0, "InvalidPort"),
    ],
)
def test_what_the_chain_would_refuse(link, serve, keypair, ip, port, rule):
    _, connection = link
    head = connection.head()
    refused = serve(connection, keypair, NETUID, ip, port)
    assert (refused.rule, refused.success, refused.sent, refused.retry_at_block) == (rule, False, False, None)
    assert refused.remedy
    # And it does: the same, with nothing looked at beforehand.
    call = "serve_axon" if serve is serve_axon else "serve_prometheus"
    result = perform(Outcome, connection, keypair, Subject(call, ss58(keypair), NETUID), refused.params, ())
    assert result.rule == rule
    assert connection.head() == head


@pytest.mark.parametrize("serve", [serve_axon, serve_prometheus])
def test_a_dry_run_changes_nothing(link, serve):
    _, connection = link
    head = connection.head()
    result = serve(connection, ME, NETUID, IP, 8091, dry_run=True)
    assert (result.success, result.sent, result.fee_rao) == (True, False, 0)
    assert result.params["port"] == 8091
    assert all(check.ok for check in result.checks)
    assert connection.head() == head
    assert connection.read_map(PALLET, "Axons") == connection.read_map(PALLET, "Prometheus") == {}


@pytest.mark.parametrize("ip", ["example.invalid", "", "1.2.3", None, 1.5, True, "fe80::1%eth0", 2**128, -1])
def test_what_is_no_address(ip):
    with pytest.raises(UsageError, match="no IPv4 or IPv6 address"):
        endpoint(ip, 1)


@pytest.mark.parametrize("port", [-1, 65_536, "80", 1.0, True, None])
def test_what_is_no_port(port):
    with pytest.raises(UsageError, match="no port"):
        endpoint(IP, port)


@given(st.ip_addresses(), st.integers(0, 65_535))
def test_addresses_keep_their_meaning(ip, port):
    found = endpoint(str(ip), port)
    assert (found.ip, found.ip_type) == (int(ip), ip.version)
    assert serving.host_of(found.ip, found.ip_type) == str(ip)
    assert found.text.endswith(f":{port}")


def test_nonsense_that_the_chain_keeps_reaches_nobody():
    assert serving.host_of(2**40, 4) == "0.0.0.0"
    assert serving.served_info({"ip": 5, "port": 0, "ip_type": 4}) is None
    assert serving.served_info({"ip": 0, "port": 5, "ip_type": 4}) is None
    assert serving.served_info(None) is None

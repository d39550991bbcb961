"""Networks by name. They are data: nothing here connects."""

from __future__ import annotations

import pytest

from mycelium.chain import networks
from mycelium.errors import ConfigError


def test_known_networks_have_encrypted_endpoints():
    assert networks.endpoints("finney")[0] == "wss://entrypoint-finney.opentensor.ai:443"
    for name in networks.NETWORKS:
        addresses = networks.endpoints(name)
        assert addresses
        assert all(one.startswith("wss://") or name == "local" for one in addresses)
    assert networks.network("archive").genesis == networks.network("finney").genesis
    assert networks.network("local").genesis == b""


def test_an_unknown_network_names_the_known_ones():
    with pytest.raises(ConfigError, match="there is no network 'finey'") as caught:
        networks.endpoints("finey")
    assert "did you mean 'finney'?" in caught.value.remedy
    assert all(name in caught.value.remedy for name in networks.NETWORKS)
    with pytest.raises(ConfigError) as caught:
        networks.endpoints("http://127.0.0.1:9944")
    assert "did you mean" not in caught.value.remedy


def test_an_address_is_itself():
    assert networks.resolve("ws://127.0.0.1:1") == ("ws://127.0.0.1:1",)
    assert networks.resolve("test") == networks.endpoints("test")

"""The chain client of older programs: one object with a validator's operations, amounts in TAO, keys by where they are.

Owns the way from those spellings to ours and back: floats become exact rao by what they print as, and never travel;
`keypair` is a keypair or says where one is (`chain.signer`), since an address cannot sign. What the chain refuses is a
`SubstrateError` that says which rule, and when to try again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Dict, Final, Optional  # noqa: UP035 - names kept for programs

from mycelium.chain import registration, serving, staking, weights
from mycelium.chain.balance import RAO_PER_TAO, Rao, rao
from mycelium.chain.chain_utils import version_number
from mycelium.chain.connection import Connection
from mycelium.chain.inclusion import FINALISED, INCLUDED
from mycelium.chain.interface import SubstrateError
from mycelium.chain.outcome import Outcome
from mycelium.chain.signer import signer
from mycelium.chain.submission import SUBMITTED
from mycelium.errors import ChainError, ConfigError, MyceliumError

__all__ = ["Dict", "Optional", "SubstrateClient", "SubstrateError", "json", "os"]

ROOT_NETUID: Final = 0
"""Where stake goes that names no subnet: what is TAO there stays TAO."""


class SubstrateClient:
    """A chain at one address, or a network's name. SubstrateError when nobody answers there.

    netuid: the subnet to which stake goes, by default the root's.
    """

    def __init__(self, url: str, *, netuid: int = ROOT_NETUID) -> None:
        self.url = url
        self.netuid = netuid
        with _as_substrate_error("Failed to create substrate client"):
            self.connection = Connection(url).connect()

    def close(self) -> None:
        """End the connection."""
        self.connection.close()

    def __enter__(self) -> SubstrateClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        connection = self.__dict__.get("connection")
        if connection is not None:
            connection.close()

    def get_stake(self, hotkey: str, coldkey: str) -> float:
        """What a coldkey has staked to a hotkey on all subnets, in TAO at the prices of now."""
        with _as_substrate_error("Failed to get stake"):
            return staking.total_staked(self.connection, hotkey, coldkey) / RAO_PER_TAO

    def add_stake(
        self,
        amount: float,
        hotkey: str,
        coldkeypair: Any,
        wait_for_inclusion: bool = True,
        wait_for_finalization: bool = False,
    ) -> bool:
        """Stake so many TAO to a hotkey; True. amount: text or Decimal say exactly what is meant."""
        with _as_substrate_error("Failed to add stake"):
            key, wait = signer(coldkeypair, coldkey=True), wait_of(wait_for_inclusion, wait_for_finalization)
            done = staking.add_stake(self.connection, key, hotkey, self.netuid, exact_rao(amount), wait=wait)
            return _checked(done)

    def remove_stake(
        self,
        amount: float,
        hotkey: str,
        coldkeypair: Any,
        wait_for_inclusion: bool = True,
        wait_for_finalization: bool = False,
    ) -> bool:
        """Take so much stake back; True. amount: of the subnet's alpha, which is TAO on the root subnet."""
        with _as_substrate_error("Failed to remove stake"):
            key, wait = signer(coldkeypair, coldkey=True), wait_of(wait_for_inclusion, wait_for_finalization)
            done = staking.remove_stake(
                self.connection, key, hotkey, self.netuid, exact_rao(amount), wait=wait
            )
            return _checked(done)

    def set_weights(
        self,
        netuid: int,
        weights: dict[str, float],
        keypair: Any,
        wait_for_inclusion: bool = True,
        wait_for_finalization: bool = False,
        version: str = "1.0.0",
    ) -> bool:
        """Set a hotkey's weights, hotkey -> weight, by the path the chain has in force; True."""
        with _as_substrate_error("Failed to set weights"):
            wait = wait_of(wait_for_inclusion, wait_for_finalization)
            done = _set_weights(
                self.connection,
                signer(keypair),
                netuid,
                weights,
                version_key=version_number(version),
                wait=wait,
            )
            return _checked(done)

    def serve_axon(self, netuid: int, ip: str, port: int, keypair: Any, version: str = "1.0.0") -> bool:
        """Publish a hotkey's axon, if it is another than the chain has; True."""
        with _as_substrate_error("Failed to register axon endpoint"):
            number = version_number(version)
            done = serving.serve_axon(self.connection, signer(keypair), netuid, ip, port, version=number)
            return _checked(done)

    def is_registered(self, hotkey: str, netuid: int) -> bool:
        """Whether a hotkey has a uid on a subnet."""
        with _as_substrate_error("Failed to check registration"):
            return registration.is_registered(self.connection, netuid, hotkey)

    def get_prometheus_info(self, hotkey: str, netuid: int) -> dict[str, str] | None:
        """A hotkey's Prometheus endpoint: ip, port and version as text; None for none."""
        with _as_substrate_error("Failed to get prometheus info"):
            found = serving.prometheus_of(self.connection, netuid, hotkey)
        return None if found is None else {name: str(found[name]) for name in ("ip", "port", "version")}


_set_weights: Final = weights.set_weights
"""Under a name that the method's parameter does not hide."""


def exact_rao(amount: Any) -> Rao:
    """TAO in rao: a float as the shortest text that stands for it, so that 0.1 is 100,000,000. ValueError."""
    if isinstance(amount, float):
        return rao(Decimal(str(amount)))
    return rao(amount)


def wait_of(inclusion: bool, finalisation: bool) -> str:
    """What is waited for, of the two flags."""
    if finalisation:
        return FINALISED
    return INCLUDED if inclusion else SUBMITTED


def _checked(done: Outcome) -> bool:
    return done.check().success


@contextlib.contextmanager
def _as_substrate_error(what: str) -> Iterator[None]:
    try:
        yield
    except SubstrateError:
        raise
    except (MyceliumError, ValueError, TypeError) as error:
        text, remedy = str(error), ""
        if isinstance(error, ChainError | ConfigError):
            text, remedy = error.what, error.remedy
        raise SubstrateError(f"{what}: {text}", remedy) from error

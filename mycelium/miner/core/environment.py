"""A miner's settings as its environment gives them, and what is made of them. Shared by both kinds of miners.

Owns how each variable is read; `.env` is loaded by the configuration modules. Errors name the variable and its remedy.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mycelium.chain import interface, metagraph
from mycelium.errors import ConfigError

NONCES_FILENAME: Final = "nonces.sqlite"
_TRUE: Final = ("1", "true", "yes", "on")
_FALSE: Final = ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Environment:
    """stake_min: TAO that a validator must have. load_old_nodes: begin with the nodes of nodes.json."""

    wallet_name: str
    hotkey_name: str
    netuid: int
    network: str | None
    address: str | None
    load_old_nodes: bool
    stake_min: float
    refresh_nodes: bool

    @property
    def nonces_path(self) -> Path:
        """In the working directory, where a miner's other files lie too."""
        return Path(f"{self.hotkey_name}_{NONCES_FILENAME}")


def read() -> Environment:
    """The environment of now. ConfigError for a variable that is missing or no such value."""
    return Environment(
        wallet_name=os.environ.get("WALLET_NAME", "default"),
        hotkey_name=os.environ.get("HOTKEY_NAME", "default"),
        netuid=_netuid(),
        network=os.environ.get("SUBTENSOR_NETWORK") or None,
        address=os.environ.get("SUBTENSOR_ADDRESS") or None,
        load_old_nodes=_switch("LOAD_OLD_NODES", default=True),
        stake_min=_stake(),
        refresh_nodes=_switch("REFRESH_NODES", default=True),
    )


def open_metagraph(settings: Environment) -> Any:
    """The metagraph that is kept in step with the chain, or only what nodes.json has where it is not to be refreshed.

    Connects; raises ChainUnreachable, WrongChain. `Metagraph` and `get_substrate` are looked up now, so that a program
    can put its own in their place.
    """
    substrate = (
        interface.get_substrate(settings.network, settings.address) if settings.refresh_nodes else None
    )
    return metagraph.Metagraph(substrate, settings.netuid, load_old_nodes=settings.load_old_nodes)


def _netuid() -> int:
    text = os.environ.get("NETUID")
    if text is None:
        raise ConfigError("NETUID is not set", "set it to the subnet's number, in the environment or in .env")
    if not (text.isascii() and text.isdigit()) or int(text) > 65_535:
        raise ConfigError(f"NETUID is {text!r}", "set it to a number from 0 to 65535")
    return int(text)


def _stake() -> float:
    text = os.environ.get("MIN_STAKE_THRESHOLD", "1000")
    try:
        stake = float(text)
        if not 0 <= stake < float("inf"):
            raise ValueError(text)
    except ValueError:
        raise ConfigError(
            f"MIN_STAKE_THRESHOLD is {text!r}", "set it to an amount of TAO, like 1000"
        ) from None
    return stake


def _switch(name: str, *, default: bool) -> bool:
    text = os.environ.get(name, "").strip().lower()
    if not text:
        return default
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ConfigError(f"{name} is {text!r}", "set it to true or false")

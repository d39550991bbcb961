"""Which network a node is of, and where its membership comes from: a file, or the chain.

In two steps, as the store lies between them: `find` says which chain it is before anything is written, `open_source`
gives the membership once the data directory is the node's own. Owns no session and no table.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mycelium.chain import networks
from mycelium.database.backup import read_label
from mycelium.database.database import wall_ms
from mycelium.errors import ConfigError
from mycelium.metagraph import epochfile
from mycelium.metagraph.epochfile import EpochFile
from mycelium.metagraph.membership import Source, StaticSource
from mycelium.node.chain_settings import ChainSettings
from mycelium.node.settings import Settings

if TYPE_CHECKING:
    from mycelium.chain.connection import Connection

log = logging.getLogger(__name__)

_ARCHIVES: Final = {"finney": "archive"}
"""Networks whose own endpoints keep only the newest states, and the network that keeps all."""


class Joined:
    """A network that was found. genesis: 32 bytes. members: of a file, None where they come from the chain."""

    def __init__(
        self,
        settings: Settings,
        genesis: bytes,
        members: StaticSource | None = None,
        connection: Connection | None = None,
        *,
        clock_ms: Callable[[], int],
    ) -> None:
        self.settings = settings
        self.genesis = genesis
        self.members = members
        self._connection = connection
        self._clock_ms = clock_ms

    async def open_source(self) -> Source:
        """The membership, followed from now on. The data directory must exist, and be this node's.

        Raises ConfigError and ChainError, each with its remedy.
        """
        if self.members is not None:
            return self.members
        from mycelium.chain.epochs import Rules
        from mycelium.chain.source import ChainSource

        assert self._connection is not None, "a network is of a chain or of a file"
        assert self.settings.chain is not None, "only [chain] has a connection"
        chain = self.settings.chain
        file = _open_file(chain, self.settings.data_dir / epochfile.NAME)
        source = ChainSource(
            self._connection,
            Rules(self.settings.netuid, file.epoch_blocks, chain.stake_min_rao),
            file,
            change_percent_max=chain.change_percent_max,
            outage_max_s=chain.outage_max_s,
            observers=chain.observers,
            clock_ms=self._clock_ms,
        )
        try:
            await source.start()
        except BaseException:
            await source.close()
            raise
        return source

    def close(self) -> None:
        """For one whose source was never opened; idempotent."""
        if self._connection is not None:
            self._connection.close()


async def find(settings: Settings, clock_ms: Callable[[], int] = wall_ms) -> Joined:
    """Which network the settings mean. clock_ms: the time by which epochs go.

    Raises ConfigError, ChainUnreachable, WrongChain; writes nothing.
    """
    if settings.chain is None:
        assert settings.genesis is not None, "settings with members have a genesis"
        assert settings.members_file is not None, "settings have members of a file or [chain]"
        return Joined(
            settings,
            settings.genesis,
            StaticSource.load(settings.members_file, clock_ms=clock_ms),
            clock_ms=clock_ms,
        )
    # Only here: substrate-interface takes 30 MiB, which a network without a chain has no use for.
    from mycelium.chain.connection import Connection
    from mycelium.chain.socket import shown

    chain = settings.chain
    genesis = settings.genesis
    if genesis is None and chain.network:
        genesis = networks.network(chain.network).genesis or None
    if genesis is None:
        # The first chain that this directory was used with is the one that it belongs to.
        label = read_label(settings.data_dir).get("genesis", "")
        genesis = bytes.fromhex(label) if len(label) == 64 else None
    archive = chain.archive
    if not archive and chain.network in _ARCHIVES:
        archive = networks.endpoints(_ARCHIVES[chain.network])
    connection = Connection(chain.endpoints, archive=archive, genesis=genesis)
    try:
        if genesis is None:
            log.info("waits for the chain to say which it is: %s", ", ".join(map(shown, chain.endpoints)))
            genesis = await asyncio.to_thread(lambda: connection.genesis)
    except BaseException:
        connection.close()
        raise
    return Joined(settings, genesis, connection=connection, clock_ms=clock_ms)


def _open_file(chain: ChainSettings, path: Path) -> EpochFile:
    """The file of epochs, which are of one length from the first that is kept."""
    file = EpochFile(path, chain.epoch_blocks)
    if file.epoch_blocks != chain.epoch_blocks:
        file.close()
        raise ConfigError(
            f"{path.parent} was begun with epochs of {file.epoch_blocks} blocks, not {chain.epoch_blocks}",
            f"set epoch_blocks = {file.epoch_blocks} in [chain], as on the other nodes; or use a new data_dir",
        )
    return file

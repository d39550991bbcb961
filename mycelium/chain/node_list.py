"""The nodes of a subnet as Fiber's programs hold them: by hotkey, read again and again, and kept in a file.

Owns the loop that reads them, which no error ends, and the file. `metagraph.Metagraph` makes one of these when it is
called as Fiber's was. Reading the chain is `fetch_nodes`' work, which is looked up there whenever it is needed:
programs put functions of their own in its place.
"""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any, Final

from mycelium import constants, wholefile
from mycelium.chain import fetch_nodes
from mycelium.chain.metagraph import Metagraph
from mycelium.chain.models import Node
from mycelium.errors import MetagraphError, UsageError

logger = logging.getLogger("mycelium.chain.metagraph")

SYNC_S: Final = 300.0
"""From one reading to the next."""
RETRY_S: Final = 5.0
"""After the first failure; each further one doubles it, up to `SYNC_S`."""


class NodeList(Metagraph):
    """A subnet's nodes, and the metagraph that it also is: `sync` reads that, `sync_nodes` these.

    nodes: hotkey -> Node, replaced whole. is_in_sync: whether there are any. stop_event: ends the loop.
    """

    def __init__(self, substrate: Any, netuid: int | str, load_old_nodes: bool = True) -> None:
        """substrate: a connection, or None for one that is set later. netuid: text is as good.

        load_old_nodes: begin with those in `nodes.json` of the working directory, and keep them there.
        """
        try:
            number = int(netuid)
        except (TypeError, ValueError):
            raise UsageError(f"a netuid is a whole number, not {netuid!r}") from None
        super().__init__(number, substrate)
        self.nodes: dict[str, Node] = {}
        self.is_in_sync = False
        self.stop_event = threading.Event()
        self.load_old_nodes = load_old_nodes
        if load_old_nodes:
            self.load_nodes()
            self.is_in_sync = bool(self.nodes)

    def periodically_sync_nodes(self) -> None:
        """Read the nodes every five minutes, until `stop_event` is set; for a thread of its own.

        What goes wrong is logged and tried again, ever more rarely; nothing that goes wrong ends it.
        """
        wait_s, retry_s = (SYNC_S if self.is_in_sync else 0.0), RETRY_S
        while not self.stop_event.wait(wait_s):
            try:
                self.sync_nodes()
            except Exception:
                wait_s, retry_s = min(retry_s, SYNC_S), min(2 * retry_s, SYNC_S)
                logger.exception(
                    "the nodes of subnet %d could not be read; again in %.0f s. Should that go on, check the "
                    "endpoint, and whether the subnet exists",
                    self.netuid,
                    wait_s,
                )
            else:
                wait_s, retry_s = SYNC_S, RETRY_S

    def sync_nodes(self) -> None:
        """Read the nodes now. ChainError; MetagraphError without a connection. Then nothing has changed."""
        if self.substrate is None:
            raise MetagraphError("there is no connection to read nodes over", "set `.substrate` first")
        found = fetch_nodes.get_nodes_for_netuid(self.substrate, self.netuid)
        self.nodes = {node.hotkey: node for node in found}
        self.is_in_sync = True
        logger.info("subnet %d has %d nodes", self.netuid, len(self.nodes))

    def save_nodes(self) -> None:
        """Keep the nodes in `nodes.json`, where `load_old_nodes` says so and there are some. OSError."""
        if not self.load_old_nodes:
            return
        nodes = self.nodes
        if not nodes:
            logger.warning("there are no nodes to keep; %s stays as it is", constants.SAVE_NODES_FILEPATH)
            return
        kept = {hotkey: node.model_dump(mode="json") for hotkey, node in nodes.items()}
        wholefile.write(Path(constants.SAVE_NODES_FILEPATH), json.dumps(kept).encode())

    def load_nodes(self) -> None:
        """Take the nodes from `nodes.json`. A file that is bad, or of another subnet, is logged and passed over."""
        path = Path(constants.SAVE_NODES_FILEPATH)
        try:
            kept = json.loads(path.read_bytes())
            nodes = {hotkey: Node.model_validate(node) for hotkey, node in kept.items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            logger.error(
                "%s cannot be read and is passed over; nodes come from the chain. It is replaced when nodes are "
                "saved; remove it if this is told again: %s",
                path,
                error,
            )
            return
        if any(node.netuid != self.netuid for node in nodes.values()):
            logger.warning("%s holds nodes of another subnet than %d, and is passed over", path, self.netuid)
            return
        self.nodes = nodes

    def shutdown(self) -> None:
        """End the loop, and keep the nodes. OSError."""
        self.stop_event.set()
        self.save_nodes()

    def __len__(self) -> int:
        return max(len(self.nodes), self.n)

    def __bool__(self) -> bool:
        # Programs ask whether they have one at all.
        return True

    def __repr__(self) -> str:
        return f"<Metagraph of subnet {self.netuid}: {len(self.nodes)} nodes>"

"""What a node's settings are held against before it starts: the grants that they name, and who is listed where.

Reads files and decides; opens nothing, changes nothing.
"""

from __future__ import annotations

from mycelium.database import grants
from mycelium.errors import ConfigError, PolicyRefused
from mycelium.identity.account import format as format_account
from mycelium.metagraph.membership import Epoch
from mycelium.node.settings import Settings


def read_grants(settings: Settings, genesis: bytes) -> list[bytes]:
    """The grants that the settings name. ConfigError for one that is none, or of another account."""
    found = []
    account, network = settings.keypair().account, grants.network_id(settings.netuid, genesis)
    for path in settings.grants:
        try:
            token = bytes.fromhex(path.read_text(encoding="ascii").strip())
            holder = grants.read(token, network).holder
        except (OSError, ValueError, PolicyRefused) as error:
            raise ConfigError(f"{path}: {error}", "write it with `mycelium policy grant`") from None
        if holder != account:
            raise ConfigError(
                f"{path} is a grant to {format_account(holder)}, not to this node's account", "remove it"
            )
        found.append(token)
    return found


def check_clients(settings: Settings, epoch: Epoch) -> None:
    """A member that were also a client would be served calls and never replicate. ConfigError."""
    both = sorted(format_account(account) for account in settings.clients if epoch.may_read(account))
    if both:
        raise ConfigError(
            f"{settings.path}: [auth] clients lists {', '.join(both)}, a member of the network",
            "give programs a hotkey of their own, or the hotkey of this node",
        )

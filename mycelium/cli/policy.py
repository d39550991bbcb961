"""Commands for access control: policy check, show, publish, and grant.

Owns what is printed and the order of a publication: first the document goes into the store, then the chain names it, so
that no epoch begins under a policy that nobody has.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mycelium.cli import output
from mycelium.cli.target import Config, EnvFile, Json, Session, connected, load
from mycelium.errors import ConfigError, PolicyRefused, UsageError

if TYPE_CHECKING:
    from mycelium.node.settings import Settings

Document = Annotated[Path, typer.Argument(metavar="FILE", help="A policy document, JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("check")(check)
    connected(app, "show")(show)
    app.command("publish")(publish)
    app.command("grant")(grant)


def check(document: Document, json: Json = False) -> None:
    """Say whether a policy document is one, and under which digest the chain would name it.

    Reads the file alone; needs no node.

    Example:

        mycelium policy check policy.json
    """
    with output.guard(json=json):
        from mycelium.identity.keys import digest

        data, rules = _read(document)
        name = digest(data).hex()
        if json:
            output.emit({"digest": name, "bytes": len(data), "rules": rules})
        else:
            output.line(f"a policy of {rules} rules, {len(data)} bytes, digest {name}")


async def show(session: Session) -> None:
    """Print the policy in force at a node.

    With its epoch and digest. Where none is named on chain, a default one is.

    Example:

        mycelium policy show --config node.toml
    """
    found = await session.node.policy()
    name = None if found.digest is None else found.digest.hex()
    text = None if found.document is None else found.document.decode("utf-8", "replace")
    if session.json:
        output.emit({"epoch": found.epoch, "digest": name, "document": text})
    elif name is None:
        output.line(f"epoch {found.epoch}: no policy is named on chain, so the default one is in force:")
        output.line(
            "the owner and validators read and write everything, observers read it, nobody else does anything"
        )
    else:
        output.line(f"epoch {found.epoch}: {name}")
        output.line("its document is not here yet" if text is None else text)


def publish(document: Document, config: Config = None, env_file: EnvFile = None, json: Json = False) -> None:
    """Give a policy document to the network, and name it on chain by the node's hotkey.

    It is in force from the next epoch on if that is the hotkey of the subnet's
    owner, or once validators with two thirds of the stake have named it. On
    chain it takes the place of whatever the hotkey had committed to before.

    Example:

        mycelium policy publish policy.json --config node.toml
    """
    with output.guard(json=json):
        data, _ = _read(document)
        settings = load(config, env_file)
        if settings.chain is None:
            raise ConfigError(
                f"{settings.path} has its members in a file", "a policy is named on chain: use [chain]"
            )
        found = output.run(_publish(settings, data))
        if json:
            output.emit(found)
        else:
            output.line(f"published {found['digest']}, named on chain in block {found['block']}")
            output.line(f"it is in force from epoch {found['in_force_from']} on, if this hotkey decides")


async def _publish(settings: Settings, data: bytes) -> dict[str, Any]:
    from mycelium.chain.connection import Connection
    from mycelium.chain.epochs import policy_commitment
    from mycelium.node.remote import connect

    keypair = settings.keypair()
    async with connect(settings.url, keypair, keypair.account) as node:
        info = await node.publish_policy(data)
        status = await node.status()
    assert info.digest is not None, "what was published has a digest"
    assert settings.chain is not None, "looked at before"
    connection = Connection(settings.chain.endpoints, genesis=settings.genesis)

    def name_it(digest: bytes) -> int | None:
        with connection:
            call = connection.compose(
                "Commitments", "set_commitment", policy_commitment(settings.netuid, digest)
            )
            return connection.submit(call, keypair).check().block_number

    block = await asyncio.to_thread(name_it, info.digest)
    blocks: int = status["chain"]["epoch_blocks"]
    in_force = None if block is None else block // blocks + 1
    return {"digest": info.digest.hex(), "block": block, "in_force_from": in_force}


def grant(
    to: Annotated[str, typer.Option(help="The account that may use it (SS58).")],
    tables: Annotated[str, typer.Option(help="space/table, or space/*.")],
    epochs: Annotated[str, typer.Option(help="FIRST-LAST: the epochs in which it holds.")],
    config: Config = None,
    env_file: EnvFile = None,
    may: Annotated[str, typer.Option(help="What it allows: put, delete, or put,delete.")] = "put",
    prefix: Annotated[str, typer.Option(help="Only keys that begin so.")] = "",
    parent: Annotated[Path | None, typer.Option(help="Hand on this grant, or a part of it.")] = None,
    json: Json = False,
) -> None:
    """Print a grant by the node's hotkey, which must have `admin` on it, or be whom a parent grant names.

    Whoever it is for names the file in the section auth of its node's settings: grants = ["FILE"].

    Examples:

        mycelium policy grant --to 5F3s... --tables main/scores --epochs 100-200 --config node.toml > scores.grant

        mycelium policy grant --to 5G9x... --tables main/scores --prefix a/ --epochs 100-150 --parent scores.grant
    """
    with output.guard(json=json):
        token, name = _grant(load(config, env_file), to, tables, epochs, may, prefix, parent)
        if json:
            output.emit({"id": name, "grant": token})
        else:
            output.line(token)


def _grant(
    settings: Settings, to: str, tables: str, epochs: str, may: str, prefix: str, parent: Path | None
) -> tuple[str, str]:
    from mycelium.database import grants
    from mycelium.database.policy import Action
    from mycelium.database.ranges import EVERYTHING, prefixed
    from mycelium.identity import account as accounts
    from mycelium.node import joining

    joined = output.run(joining.find(settings))
    joined.close()
    space, slash, table = tables.partition("/")
    first, dash, last = epochs.partition("-")
    names = {"put": Action.PUT, "delete": Action.DELETE}
    if not slash or not dash or not first.isdecimal() or not last.isdecimal():
        raise UsageError('write --tables "space/table" and --epochs FIRST-LAST')
    allowed = Action(0)
    for one in may.split(","):
        if one not in names:
            raise UsageError(f"--may {may!r}: name put, delete, or both with a comma between")
        allowed |= names[one]
    network = grants.network_id(settings.netuid, joined.genesis)
    held = None if parent is None else _token(parent)
    token = grants.issue(
        settings.keypair(),
        accounts.parse(to),
        space,
        table,
        allowed,
        network=network,
        keys=prefixed(prefix.encode()) if prefix else EVERYTHING,
        epochs=(int(first), int(last)),
        parent=held,
    )
    return token.hex(), grants.read(token, network).id.hex()


def _token(path: Path) -> bytes:
    try:
        return bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}", "name a file that `mycelium policy grant` wrote") from None


def _read(document: Path) -> tuple[bytes, int]:
    """The document's bytes and how many rules it has. ConfigError, PolicyRefused."""
    from mycelium.database import policy

    try:
        data = document.read_bytes()
    except OSError as error:
        raise ConfigError(f"{document}: {error.strerror}", "name a policy document") from None
    try:
        return data, len(policy.parse(data).document.rules)
    except PolicyRefused as error:
        raise PolicyRefused(f"{document}: {error}") from None

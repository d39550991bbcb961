"""Commands for a fleet, several nodes of one hotkey: status, move, init.

`status` asks a member; `move` and `init` write into the fleet's bucket in NATS, which any member's settings lead to.
Owns what is asked and printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mycelium.cli import output
from mycelium.cli.target import Config, EnvFile, Json, Session, connected, load
from mycelium.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from mycelium.node.settings import Settings

Shards = Annotated[list[str], typer.Argument(metavar="SHARD...", help="Numbers, ranges as 0-7, or all.")]
To = Annotated[str | None, typer.Option("--to", metavar="ID", help="The member that is to have them.")]
Back = Annotated[bool, typer.Option("--back", help="Where they would be if nobody had moved them.")]
Space = Annotated[str, typer.Argument(metavar="SPACE", help="The space whose shards they are.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    connected(app, "status")(status)
    app.command("move")(move)
    app.command("init")(init)


async def status(session: Session) -> None:
    """Show the members of a fleet, which shards each has, and how far it is.

    Asks one member; what it says of others it has from the fleet's bucket.

    Examples:

        mycelium fleet status --config node.toml

        mycelium fleet status --config node.toml --json
    """
    found = await session.node.status()
    fleet: dict[str, Any] | None = found.get("fleet")
    if fleet is None:
        raise UsageError(f"{session.node.url} is no member of a fleet: it has no [fleet] in its settings")
    if session.json:
        output.emit(fleet)
        return
    for line in lines_of(fleet):
        output.line(line)


def lines_of(fleet: dict[str, Any]) -> list[str]:
    """What `fleet status` prints."""
    lines = [f"member {fleet['id']}, generation {fleet['generation']}, NATS at {fleet['servers']}"]
    if fleet["problem"]:
        lines.append(f"nothing can be written: {fleet['problem']}")
    if fleet["displaced"]:
        lines.append("another process has this member's name: give each member an id of its own")
    lines.append(
        f"serves {fleet['serving']} shards; {fleet['changes']:,} changes in {fleet['batches']:,} batches, "
        f"{fleet['forwarded']:,} requests passed on, {fleet['in_flight']} under way"
    )
    lines += ["", f"{'member':<16} {'shards':>6}  {'state':<24} address"]
    for name, one in fleet["members"].items():
        state = one["gone"] or ("leaving" if one["leaving"] else "")
        state = state or (f"offers {', '.join(one['spaces'])}" if one["spaces"] else "catching up")
        lines.append(f"{name:<16} {one['shards']:>6}  {state[:60]:<24} {one['url']}")
    lines += ["", f"{'space':<16} {'shards':>6}  who has them"]
    for space, one in fleet["spaces"].items():
        lines.append(f"{space:<16} {one['shards']:>6}  {_owners(one['owners'])}")
        for slot, to in one["plans"].items():
            if one["owners"][int(slot)] != to:
                lines.append(f"{'':<16} {'':>6}  shard {slot} is wished to be at {to}")
    lines += ["", f"{'stream':<16} {'read':>10} {'behind':>8}  state"]
    for space, one in fleet["streams"].items():
        refused = sum(one["refused"].values())
        more = f", {refused} refused" if refused else ""
        more += f", {one['waiting']} wait" if one["waiting"] else ""
        lines.append(f"{space:<16} {one['read']:>10} {one['lag']:>8}  {one['state']}{more}")
        if one["lacking"]:
            lines.append(
                f"{'':<16} none of its shards is served here: {one['lacking']}; give it a session with the mesh, or "
                "restore a backup of another member into its data_dir"
            )
    return lines


def _owners(owners: Sequence[str]) -> str:
    """As "a: 0-3, 7; b: 4-6", nobody's last."""
    by_name: dict[str, list[int]] = {}
    for slot, name in enumerate(owners):
        by_name.setdefault(name, []).append(slot)
    found = [
        f"{name or 'nobody'}: {_ranges(by_name[name])}" for name in sorted(by_name, key=lambda n: (not n, n))
    ]
    return "; ".join(found)


def _ranges(numbers: Sequence[int]) -> str:
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def shards_of(texts: Sequence[str], shards: int) -> list[int]:
    """The numbers that the arguments name, of a space with so many shards. UsageError."""
    found: set[int] = set()
    for text in (part for given in texts for part in given.split(",")):
        low, dash, high = text.partition("-")
        if text == "all":
            found |= set(range(shards))
        elif low.isdecimal() and (high.isdecimal() if dash else not high) and len(text) < 12:
            first, last = int(low), int(high or low)
            if first > last or last >= shards:
                raise UsageError(f"{text!r} names shards that are not there: the space has 0 to {shards - 1}")
            found |= set(range(first, last + 1))
        else:
            raise UsageError(f"{text[:40]!r} is no shard: write a number, a range as 0-7, or all")
    return sorted(found)


def move(
    space: Space,
    shard: Shards,
    to: To = None,
    back: Back = False,
    config: Config = None,
    env_file: EnvFile = None,
    json: Json = False,
) -> None:
    """Move shards of a space to a member, while they are written and read.

    The wish is kept: the member gets the shards whenever it lives, and while
    it does not they are elsewhere. --back takes the wish back.

    Examples:

        mycelium fleet move main 0-7 --to b --config node.toml

        mycelium fleet move main all --back --config node.toml
    """
    with output.guard(json=json):
        if (to is None) != back:
            raise UsageError("say where to: --to ID, or --back")
        settings = _settings(config, env_file)
        output.run(_move(settings, space, shard, to or "", json=json))


async def _move(settings: Settings, space: str, shard: Sequence[str], to: str, *, json: bool) -> None:
    from mycelium.fleet import plans
    from mycelium.jetstream.client import Broker

    async with Broker(settings.nats, "fleet move") as broker:
        session = await broker.ready(once=True)
        name = await _bucket_name(settings)
        shards = (await plans.read(session, name)).shapes.get(space, 0)
        wanted = dict.fromkeys(shards_of(shard, shards) if shards else [0], to)
        changed = await plans.move(session, name, space, wanted)
    if json:
        output.emit({"space": space, "shards": sorted(wanted), "to": to, "changed": changed})
    else:
        where = f"wished to be at {to}" if to else "where they belong by themselves"
        output.line(f"shards {_ranges(sorted(wanted))} of {space}: {where}; {changed} were not before")


def init(config: Config = None, env_file: EnvFile = None, json: Json = False) -> None:
    """Make what a fleet needs in NATS: its bucket, and a stream for each space.

    Members do so by themselves when they start. Here it is done before any
    does, and said what is wrong: a server that would lose what it
    acknowledges, a login that may not, a space that is divided already.

    Example:

        mycelium fleet init --config node.toml
    """
    with output.guard(json=json):
        output.run(_init(_settings(config, env_file), json=json))


async def _init(settings: Settings, *, json: bool) -> None:
    from mycelium.fleet import plans
    from mycelium.jetstream.client import Broker

    assert settings.fleet is not None
    async with Broker(settings.nats, "fleet init") as broker:
        session = await broker.ready(once=True)
        network, account = await _network(settings)
        made = await plans.make(session, network, account, settings.nats, settings.fleet, _spaces(settings))
    if json:
        output.emit({"bucket": network.fleet(account), "spaces": made})
        return
    output.line(f"the fleet's bucket is {network.fleet(account)}")
    for space, shards in made.items():
        asked = settings.fleet.slots_of(space)
        differs = f" (not {asked}, as [fleet] has it: that is for good)" if shards != asked else ""
        output.line(f"{space}: stream {network.stream(space)}, {shards} shards{differs}")


def _settings(config: Any, env_file: Any) -> Settings:
    settings = load(config, env_file)
    if settings.fleet is None:
        raise ConfigError(f"{settings.path} has no [fleet] section", 'add one, with id = "a"')
    return settings


def _spaces(settings: Settings) -> list[str]:
    return sorted({"sys", *(table.space for table in settings.tables.values())})


async def _network(settings: Settings) -> tuple[Any, bytes]:
    """The network's names, and the account. The genesis may be the chain's to say."""
    from mycelium.database.database import wall_ms
    from mycelium.jetstream.layout import Network
    from mycelium.node import joining

    keypair = settings.keypair()
    joined = await joining.find(settings, wall_ms)
    joined.close()
    return Network(settings.netuid, joined.genesis), keypair.account


async def _bucket_name(settings: Settings) -> str:
    network, account = await _network(settings)
    name: str = network.fleet(account)
    return name

"""The command init: asks five questions and writes a node's configuration file.

Every answer may be given as an option, and with --yes nothing is asked. What it would write is judged first as the node
judges it; a file that is there stays unless --force says otherwise.
"""

from __future__ import annotations

import json as json_
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mycelium.cli import output
from mycelium.cli.target import Json
from mycelium.errors import ConfigError, KeyFileError, MyceliumError, UsageError

_LISTEN: Final = "0.0.0.0:9090"
"""Members dial it: a node that is not reached is of less use."""
_DATA_DIR: Final = "data"
_NEXT: Final = "mycelium doctor --config {0} && mycelium node run --config {0}"


@dataclass
class Answers:
    """What the questions come to. advertise: None leaves it to the chain."""

    netuid: int = 0
    network: str = ""
    wallet: str = ""
    hotkey: str = ""
    wallet_path: str = ""
    data_dir: str = ""
    listen: str = ""
    advertise: list[str] | None = None
    rotation: bool = False
    tables: dict[str, str] = field(default_factory=dict)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(init)


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path("node.toml"),
    netuid: Annotated[int | None, typer.Option(min=0, max=65_535, help="The subnet's number.")] = None,
    network: Annotated[
        str | None, typer.Option(help="finney, test, archive, local, or ws://HOST:PORT of a chain's node.")
    ] = None,
    wallet: Annotated[str | None, typer.Option(help="The wallet that the hotkey is in.")] = None,
    hotkey: Annotated[str | None, typer.Option(help="The hotkey's name in the wallet.")] = None,
    wallet_path: Annotated[
        Path | None, typer.Option(help="Where wallets are, if not ~/.bittensor/wallets.")
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Directory of the store; relative to the file's directory.")
    ] = None,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT to listen on.")] = None,
    advertise: Annotated[
        str | None, typer.Option(help="Hosts that members dial, with commas between; without it as on chain.")
    ] = None,
    rotation: Annotated[
        bool | None, typer.Option("--rotation/--no-rotation", help="Listen on another port by and by.")
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option(metavar="NAME=MERGE", help="A table; without it scores=lww.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take the defaults.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    json: Json = False,
) -> None:
    """Write the configuration file of a node: five questions, or none with --yes.

    Which network and subnet, which hotkey of those that are found, where
    data lies, where to listen, whether the port rotates. Variables such as
    NETUID and WALLET_NAME are taken as answers. The file is only for its
    owner to read, and is checked before it is written.

    Examples:

        mycelium init

        mycelium init --yes --netuid 64 --wallet validator --hotkey default

        mycelium init /etc/mycelium/config.toml --yes --netuid 64 --data-dir /var/lib/mycelium
    """
    with output.guard(json=json):
        target = file.expanduser().absolute()
        if target.exists() and not force:
            raise ConfigError(f"{target} exists", "name another file, or write over it with --force")
        given = {
            "netuid": None if netuid is None else str(netuid),
            "network": network,
            "wallet": wallet,
            "hotkey": hotkey,
            "data_dir": data_dir,
            "listen": listen,
            "advertise": advertise,
            "rotation": None if rotation is None else "yes" if rotation else "no",
        }
        answers = _answers(given, wallet_path, _Asker(yes=yes))
        answers.tables = _tables(table or [])
        text = render(answers)
        _judge(text, target)
        _write(target, text, replace=force)
        following = _NEXT.format(file)
        if json:
            output.emit({"path": str(target), "next": following})
        else:
            output.line(f"wrote {target}")
            output.line(f"next: {following}")


class _Asker:
    """Asks on stderr, so that stdout has the outcome alone. yes: takes every default."""

    def __init__(self, *, yes: bool) -> None:
        self._yes = yes

    @property
    def is_mute(self) -> bool:
        """Whether nothing can be asked."""
        return self._yes or not sys.stdin.isatty()

    def ask(
        self, option: str, question: str, given: str | None, default: str | None, check: Callable[[str], Any]
    ) -> str:
        """The answer: given, asked for, or the default. Asked again while it is none. UsageError, ConfigError."""
        if given is not None:
            _checked(option, given, check)
            return given
        if self.is_mute:
            if default is not None and self._yes:
                _checked(option, default, check)
                return default
            raise UsageError(
                f"{option} is missing: give it"
                + ("" if self._yes else ", or --yes for the defaults; there is no terminal to ask on")
            )
        while True:
            shown = "" if not default else f" [{default}]"
            sys.stderr.write(f"{question}{shown}: ")
            sys.stderr.flush()
            line = sys.stdin.readline()
            if not line:
                raise UsageError("the input ended before all questions were answered; nothing was written")
            answer = line.strip() or (default if default is not None else "")
            try:
                check(answer)
            except (MyceliumError, ValueError) as error:
                sys.stderr.write(f"  {output.error_line(error)}\n")
                continue
            return answer


def _checked(option: str, answer: str, check: Callable[[str], Any]) -> None:
    try:
        check(answer)
    except KeyFileError:
        raise
    except (MyceliumError, ValueError) as error:
        help_ = getattr(error, "remedy", "") or "give another answer"
        raise ConfigError(f"{option} {answer!r}: {output.reason(error)}", help_) from None


def _answers(given: dict[str, str | None], wallet_path: Path | None, asker: _Asker) -> Answers:
    """The five questions."""
    from mycelium.node.settings import parse_listen

    found = Answers()
    known = {name: text if text is not None else _variable(name) for name, text in given.items()}
    # 1. Which chain, and which of its subnets.
    question = "Which network: finney, test, archive, local, or the address of a chain's node"
    found.network = asker.ask("--network", question, known["network"], "finney", _check_network)
    found.netuid = int(asker.ask("--netuid", "Which subnet (netuid)", known["netuid"], None, _check_netuid))
    # 2. Which hotkey.
    root = wallet_path or Path(_variable("wallet_path") or "~/.bittensor/wallets")
    if wallet_path is not None or _variable("wallet_path"):
        found.wallet_path = str(root.expanduser().absolute())
    found.wallet, found.hotkey = _hotkey(known, root, asker)
    # 3. Where data lies.
    question = "Where does the store lie, relative to this file"
    found.data_dir = asker.ask("--data-dir", question, known["data_dir"], _DATA_DIR, _check_some)
    # 4. Where it listens, and where others find it.
    found.listen = asker.ask(
        "--listen", "Where does it listen, HOST:PORT", known["listen"], _LISTEN, parse_listen
    )
    question = "Under which hosts do others reach it, with commas between (empty: as the chain says)"
    hosts = asker.ask("--advertise", question, known["advertise"], "", _check_hosts)
    found.advertise = _hosts(hosts) if hosts.strip() else None
    # 5. Whether the port stays.
    question = "Listen on another port by and by, of 9090-9100 (yes or no)"
    found.rotation = _yes(asker.ask("--rotation", question, known["rotation"], "no", _yes))
    return found


def _variable(name: str) -> str | None:
    """The answer that the environment has."""
    from mycelium.node import options

    path = {
        "netuid": "network.netuid",
        "network": "chain.network",
        "wallet": "identity.wallet",
        "hotkey": "identity.hotkey",
        "wallet_path": "identity.wallet_path",
        "data_dir": "node.data_dir",
        "listen": "node.listen",
        "advertise": "node.advertise",
    }.get(name)
    option = options.find(path) if path else None
    names = (option.variable, *option.aliases) if option is not None else ()
    if name == "network":
        names = ("SUBTENSOR_ADDRESS", "BT_CHAIN_ENDPOINT", *names)
    return next((os.environ[one] for one in names if os.environ.get(one)), None)


def hotkeys(root: Path) -> list[tuple[str, str]]:
    """The wallets and hotkeys under a directory, sorted; [] where it cannot be read."""
    try:
        files = [file for file in root.expanduser().glob("*/hotkeys/*") if file.is_file()]
    except OSError:
        return []
    return sorted((file.parent.parent.name, file.name) for file in files if not file.name.endswith("pub.txt"))


def _hotkey(known: dict[str, str | None], root: Path, asker: _Asker) -> tuple[str, str]:
    """Wallet and hotkey: of the options, or one of those that there are."""
    from mycelium.identity import wallet as wallets

    there = [pair for pair in hotkeys(root) if known["wallet"] in (None, pair[0])]
    there = [pair for pair in there if known["hotkey"] in (None, pair[1])]
    if known["wallet"] is not None and known["hotkey"] is not None:
        wallets.load(known["wallet"], known["hotkey"], root)
        return known["wallet"], known["hotkey"]
    if not there:
        raise ConfigError(
            f"no hotkey is found in {root.expanduser()}",
            "create one with btcli, or name where wallets are with --wallet-path",
        )
    names = [f"{wallet}/{hotkey}" for wallet, hotkey in there]

    def check(answer: str) -> None:
        if answer not in names:
            raise ConfigError(f"there is no hotkey {answer!r}", f"there are {', '.join(names[:20])}")
        wallet, _, hotkey = answer.partition("/")
        wallets.load(wallet, hotkey, root)

    default = (
        names[0] if len(names) == 1 else next((name for name in names if name == "default/default"), None)
    )
    if default is None and asker.is_mute:
        raise ConfigError(
            f"there are several hotkeys: {', '.join(names[:20])}", "name one with --wallet and --hotkey"
        )
    answer = asker.ask(
        "--wallet and --hotkey", f"Which hotkey: {', '.join(names[:20])}", None, default, check
    )
    wallet, _, hotkey = answer.partition("/")
    return wallet, hotkey


def _check_netuid(text: str) -> None:
    if not (text.isascii() and text.isdigit()) or int(text) > 65_535:
        raise ValueError("a netuid is a number from 0 to 65535")


def _check_network(text: str) -> None:
    from mycelium.chain import networks

    networks.resolve(text)


def _check_some(text: str) -> None:
    if not text.strip():
        raise ValueError("is empty")


def _hosts(text: str) -> list[str]:
    return [host.strip() for host in text.split(",") if host.strip()]


def _check_hosts(text: str) -> None:
    from mycelium.peer import endpoints

    for host in _hosts(text):
        endpoints.address(host, 1)


def _yes(text: str) -> bool:
    if text.lower() not in ("yes", "y", "no", "n"):
        raise ValueError("answer yes or no")
    return text.lower() in ("yes", "y")


def _tables(given: list[str]) -> dict[str, str]:
    found = {}
    for text in given or ["scores=lww"]:
        name, equals, merge = text.partition("=")
        if not equals:
            raise UsageError(f"--table {text!r}: write NAME=MERGE, as scores=lww")
        found[name] = merge
    return found


def render(answers: Answers) -> str:
    """The file."""
    quoted = json_.dumps
    by_address = answers.network.startswith(("ws://", "wss://"))
    lines = [
        "# A node of Mycelium, written by `mycelium init`. `mycelium config options` lists every setting there is.",
        "",
        "[node]",
        f"data_dir = {quoted(answers.data_dir)}",
        f"listen = {quoted(answers.listen)}",
    ]
    if answers.advertise is not None:
        lines.append(f"advertise = {quoted(answers.advertise)}  # hosts that members dial")
    else:
        lines.append('# advertise = ["203.0.113.7"]  # hosts that members dial; without it the one on chain')
    lines += ["", "[identity]", f"wallet = {quoted(answers.wallet)}", f"hotkey = {quoted(answers.hotkey)}"]
    if answers.wallet_path:
        lines.append(f"wallet_path = {quoted(answers.wallet_path)}")
    lines += ["", "[network]", f"netuid = {answers.netuid}", "", "[chain]"]
    lines.append(
        f"endpoints = [{quoted(answers.network)}]" if by_address else f"network = {quoted(answers.network)}"
    )
    if answers.rotation:
        lines += ["", "[rotation]  # a firewall must let all of these through", 'range = "9090-9100"']
    for name, merge in answers.tables.items():
        key = name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else quoted(name)
        lines += ["", f"[tables.{key}]", f"merge = {quoted(merge)}  # lww, counter, set, append or own"]
    return "\n".join(lines) + "\n"


def _judge(text: str, target: Path) -> None:
    """Raise the ConfigError that the node would raise for this file."""
    from mycelium.node.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / target.name
        draft.write_text(text, encoding="utf-8")
        try:
            Settings.load(draft)
        except ConfigError as error:
            raise ConfigError(error.what.replace(f"{draft}:", "line "), error.remedy) from None


def _write(target: Path, text: str, *, replace: bool) -> None:
    from mycelium import wholefile
    from mycelium.node.settings import Settings

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot write {target}: {target.parent}: {error.strerror}",
            "name a file in a directory of your own",
        ) from None
    try:
        wholefile.write(target, text.encode(), private=True, replace=replace)
    except FileExistsError:
        raise ConfigError(f"{target} exists", "name another file, or write over it with --force") from None
    except OSError as error:
        raise ConfigError(
            f"cannot write {target}: {error.strerror or error}", "name a file in a directory of your own"
        ) from None
    Settings.load(target).keypair()

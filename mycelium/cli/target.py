"""Which node a command talks to, and as whom: the options that all data commands share.

`--config` means one's own node: its address and its hotkey come from the settings. `--url` means any node, with a
hotkey named by the options. Adds these options, and --json, to a command's signature, so that each is written once.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mycelium.cli import output
from mycelium.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from mycelium.identity.keys import Keypair
    from mycelium.node.remote import RemoteNode
    from mycelium.node.settings import Settings

PANEL: Final = "Which node, and as whom"

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="MYCELIUM_CONFIG",
        help="Own node: its node.toml. Else ./node.toml, ~/.config/mycelium/config.toml, "
        "/etc/mycelium/config.toml.",
        rich_help_panel=PANEL,
    ),
]
EnvFile = Annotated[
    Path | None,
    typer.Option(
        "--env-file",
        envvar="MYCELIUM_ENV_FILE",
        help="Read variables from this file too, as of an .env.",
        rich_help_panel=PANEL,
    ),
]
Url = Annotated[str | None, typer.Option(help="Another node: ws://HOST:PORT.", rich_help_panel=PANEL)]
Account = Annotated[
    str | None, typer.Option(help="The account that node must have (SS58).", rich_help_panel=PANEL)
]
Wallet = Annotated[str | None, typer.Option(help="With --url: the wallet.", rich_help_panel=PANEL)]
Hotkey = Annotated[str | None, typer.Option(help="With --url: the wallet's hotkey.", rich_help_panel=PANEL)]
WalletPath = Annotated[
    Path | None, typer.Option(help="Where wallets are, if not ~/.bittensor/wallets.", rich_help_panel=PANEL)
]
KeyFile = Annotated[Path | None, typer.Option(help="With --url: a hotkey file.", rich_help_panel=PANEL)]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0.1, help="Seconds to wait for an answer.", rich_help_panel=PANEL)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]

_OPTIONS: Final[dict[str, tuple[Any, Any]]] = {
    "config": (Config, None),
    "env_file": (EnvFile, None),
    "url": (Url, None),
    "account": (Account, None),
    "wallet": (Wallet, None),
    "hotkey": (Hotkey, None),
    "wallet_path": (WalletPath, None),
    "key_file": (KeyFile, None),
    "timeout": (Timeout, 30.0),
}


def load(config: Path | None, env_file: Path | None, flags: Mapping[str, str] | None = None) -> Settings:
    """The settings of one's own node, from all places. ConfigError. Says which file it is where none was named."""
    from mycelium.node import configuration

    try:
        found = configuration.read(config, flags, None, env_file)
    except ConfigError as error:
        if not error.what.startswith(configuration.NO_FILE):
            raise
        raise ConfigError(
            f"which node? {error.what}",
            "give --config FILE, or write one with `mycelium init`; for another node --url ws://HOST:PORT and a hotkey",
        ) from None
    if found.how == "found":
        output.note(f"configuration: {found.path}")
    return found.settings()


@dataclass(frozen=True, slots=True)
class Target:
    """The shared options as given."""

    config: Path | None
    env_file: Path | None
    url: str | None
    account: str | None
    wallet: str | None
    hotkey: str | None
    wallet_path: Path | None
    key_file: Path | None
    timeout: float

    def resolve(self) -> tuple[str, Keypair, bytes | None]:
        """The address, the hotkey, and the account that must answer. UsageError, ConfigError."""
        from mycelium.identity import account as accounts
        from mycelium.identity import wallet as wallets

        account = None if self.account is None else accounts.parse(self.account)
        named = self.wallet is not None or self.hotkey is not None
        keys_given = named + (self.key_file is not None)
        if self.config is not None or self.url is None:
            settings = load(self.config, self.env_file)
            if keys_given:
                raise UsageError("--config names the hotkey; leave out --wallet, --hotkey and --key-file")
            keypair = settings.keypair()
            if self.url is None:
                return settings.url, keypair, account or keypair.account
            return self.url, keypair, account
        if keys_given != 1 or named != (self.wallet is not None and self.hotkey is not None):
            raise UsageError(
                "with --url, give --wallet and --hotkey, or --key-file, or --config for the hotkey"
            )
        if self.key_file is not None:
            return self.url, wallets.load_file(self.key_file), account
        path = wallets.WALLETS if self.wallet_path is None else self.wallet_path
        return self.url, wallets.load(self.wallet or "", self.hotkey or "", path), account


@dataclass(frozen=True, slots=True)
class Session:
    """What a command's body gets: the node, and how to print."""

    node: RemoteNode
    json: bool


def connected(app: typer.Typer, name: str) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """Register `async def command(session, ...)` as command `name`, with the shared options added."""

    def register(function: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        def command(target: Target, *, json: bool, **given: Any) -> None:
            with output.guard(json=json):
                output.run(_run(function, target, json, given))

        return _registered(app, name, function, command)

    return register


def targeted(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register `def command(target, *, json, ...)` as command `name`, with the shared options added: for one that
    connects by itself, and again when the connection is lost."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        return _registered(app, name, function, function)

    return register


def _registered(
    app: typer.Typer, name: str, function: Callable[..., Any], body: Callable[..., None]
) -> Callable[..., None]:
    """Let typer have `body`, with the parameters of `function` behind its first one, and the shared options."""
    signature = inspect.signature(function, eval_str=True)
    parameters = [one for one in list(signature.parameters.values())[1:] if one.name != "json"]
    for option, (annotation, default) in {**_OPTIONS, "json": (Json, False)}.items():
        parameters.append(
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )

    def command(**given: Any) -> None:
        json: bool = given.pop("json")
        body(Target(**{option: given.pop(option) for option in _OPTIONS}), json=json, **given)

    # typer reads both: the signature for order and defaults, the annotations for types.
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=parameters, return_annotation=None
    )
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = function.__doc__
    app.command(name)(command)
    return command


async def _run(
    function: Callable[..., Awaitable[None]], target: Target, json: bool, given: dict[str, Any]
) -> None:
    from mycelium.node.remote import connect

    url, keypair, account = target.resolve()
    async with connect(url, keypair, account, timeout_s=target.timeout) as node:
        await function(Session(node, json), **given)

"""All checks in their order. Asks the running node, where there is one, for its status.

Harms neither it nor its data.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from mycelium.doctor import chain, files, machine, ports
from mycelium.doctor.finding import Finding, fail
from mycelium.errors import CallFailed, KeyFileError, MyceliumError, UsageError
from mycelium.node import calls
from mycelium.node.reaching import ASK_S
from mycelium.node.remote import RemoteNode, connect
from mycelium.node.settings import Settings

ANSWER_S: Final = 5.0
"""A running node that does not answer its own status within this is in trouble."""
_CHECKPOINT: Final = ".mycelium-doctor-"


async def examine(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    secrets: bool = False,
    each: Callable[[int], None] = lambda rows: None,
) -> AsyncIterator[Finding]:
    """Every finding as it comes. secrets: whether the file has one in it. each: rows of the store read so far."""
    yield files.configuration_file(settings.path, secrets)
    identity = settings.identity
    yield files.hotkey(identity)
    yield files.wallet(identity)
    yield files.secrets_in_environment(environ, identity)
    try:
        keypair = settings.keypair()
    except KeyFileError:
        keypair = None  # `files.hotkey` has said so
    account = None if keypair is None else keypair.account
    for look in (
        machine.clock_rate,
        machine.open_files,
        lambda: files.data_dir(settings, account),
        lambda: machine.free_space(settings.data_dir),
        lambda: machine.disk_speed(settings.data_dir),
    ):
        yield await asyncio.to_thread(look)
    node, trouble = None, ""
    if keypair is not None:
        try:
            node = await connect(settings.url, keypair, keypair.account, timeout_s=ANSWER_S)
        except MyceliumError as error:
            trouble = str(error)
            # A socket whose other end said nothing is closed by picows' own timer, a tenth of a second later.
            await asyncio.sleep(0.2)
    try:
        async for finding in _running(settings, node, trouble, each):
            yield finding
    finally:
        if node is not None:
            await node.close()
    for finding in await asyncio.to_thread(lambda: list(chain.examine(settings, account))):
        yield finding


async def _running(
    settings: Settings, node: RemoteNode | None, trouble: str, each: Callable[[int], None]
) -> AsyncIterator[Finding]:
    """What needs the running node, or its absence."""
    status: dict[str, Any] | None = None
    answers: list[dict[str, Any]] = []
    if node is not None:
        try:
            status = await node.status()
            answers = await _reached(node)
        except MyceliumError as error:
            yield fail("running node", f"does not answer: {error}", "look at its log, or restart it")
    yield machine.versions(None if status is None else status["version"])
    yield ports.listening(settings, status, trouble)
    yield ports.rotation(settings, status)
    yield ports.reachable(settings, status, answers)
    yield ports.peers(status)
    if node is None:
        yield await asyncio.to_thread(files.integrity, settings.data_dir, "the store", each)
    else:
        yield await _checkpoint(settings.data_dir, node, each)


async def _reached(node: RemoteNode) -> list[dict[str, Any]]:
    """What members say of its addresses. A node of another version may not know the question: that is no silence."""
    try:
        found: list[dict[str, Any]] = await node.database.ask(
            calls.REACH, b"", list[dict[str, Any]], timeout_s=ASK_S + ANSWER_S
        )
    except (CallFailed, UsageError) as error:
        return [{"error": str(error)}]
    return found


async def _checkpoint(data_dir: Path, node: RemoteNode, each: Callable[[int], None]) -> Finding:
    """The store of a running node, as a checkpoint of it: hard links to its files, beside them, and gone afterwards."""
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=_CHECKPOINT, dir=data_dir.parent))
    try:
        await node.database.checkpoint(folder / "store")
        return await asyncio.to_thread(
            files.integrity, folder / "store", "a checkpoint of the running node", each
        )
    except (MyceliumError, OSError) as error:
        return fail("store", f"no checkpoint can be made: {error}", "see the node's log, and free some space")
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

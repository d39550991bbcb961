"""A development chain in a thread of its own, for tests and programs that are not asynchronous.

Owns the thread and its event loop. Everything that touches the chain runs on that loop, through `run`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from mycelium.devnet.chain.core import INSTANT, Core
from mycelium.devnet.chain.server import ChainServer, wall_ms

if TYPE_CHECKING:
    from mycelium.devnet.chain.spec import ChainSpec

T = TypeVar("T")
ANSWER_S: Final = 60
"""What a caller waits for the chain's thread; a fault never holds that up, only a bug does."""


class ThreadedChain:
    """A chain at `url` while the context lasts; without a spec, the one of `mycelium devnet chain`.

    blocks: "instant" (when an extrinsic is ready), "time" (every block_ms) or "manual" (by `step`). Further
    keywords go to `Core`. Raises AddressInUse.
    """

    def __init__(
        self,
        spec: ChainSpec | None = None,
        *,
        blocks: str = INSTANT,
        block_ms: int | None = None,
        port: int = 0,
        clock: Callable[[], int] = wall_ms,
        **keywords: Any,
    ) -> None:
        if spec is None:
            from mycelium.devnet.chain.population import development

            spec = development()
        self.core = Core(spec, clock=clock, blocks=blocks, block_ms=block_ms, **keywords)
        self.faults = OnLoop(self)
        self._port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: ChainServer | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._main, name="devchain", daemon=True)
        self._ready: Future[None] = Future()

    @property
    def server(self) -> ChainServer:
        assert self._server is not None, "the chain has not been started"
        return self._server

    @property
    def url(self) -> str:
        """Where clients connect: ws://127.0.0.1:PORT."""
        return self.server.url

    @property
    def genesis(self) -> bytes:
        """The hash of block 0, 32 bytes."""
        return self.run(lambda core: core.chain.genesis)

    def run(self, what: Callable[[Core], T]) -> T:
        """Do something with the chain on its own thread; what it returns or raises."""
        return self._call(lambda: what(self.core))

    def step(self, count: int = 1) -> str:
        """Make so many blocks now; the hash of the newest, as hex."""
        return self.run(lambda core: f"0x{core.step(count).hash.hex()}")

    def start(self) -> None:
        """Begin; done by the context manager."""
        self._thread.start()
        self._ready.result(ANSWER_S)

    def stop(self) -> None:
        """End, and wait for the thread."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(ANSWER_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _call(self, what: Callable[[], T]) -> T:
        loop = self._loop
        assert loop is not None, "the chain has not been started"

        async def on_loop() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(on_loop(), loop).result(ANSWER_S)

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with ChainServer(self.core, port=self._port) as server:
            self._server = server
            self._ready.set_result(None)
            await self._stop.wait()


class OnLoop:
    """The chain's `Faults`, each method called on the chain's thread."""

    def __init__(self, chain: ThreadedChain) -> None:
        self._chain = chain

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            return self._chain.run(lambda _: getattr(self._chain.server.faults, name)(*arguments, **keywords))

        return call

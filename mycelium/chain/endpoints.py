"""Which endpoint is asked next, and when: fewest failures first, full jitter under a bound that doubles. Sans-IO.

Owns what went wrong with each and until when it is left alone. Opens nothing; clock and randomness are passed in.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mycelium.chain.socket import Busy, shown
from mycelium.config import CHAIN_BACKOFF_MAX_S, CHAIN_BACKOFF_MIN_S, CHAIN_BUSY_S
from mycelium.errors import ChainError, ChainUnreachable, ConfigError, WrongChain

_DOUBLINGS_MAX: Final = 16


@dataclass(slots=True)
class _State:
    failures: int = 0
    not_before_s: float = 0.0
    why: ChainError | None = None


class Endpoints:
    """The addresses of one chain, the preferred one first. ConfigError for none, or one that is no WebSocket's."""

    def __init__(self, urls: Sequence[str], rng: random.Random) -> None:
        if not urls:
            raise ConfigError("no endpoint of the chain is given", "name at least one, as in wss://...")
        for url in urls:
            if not url.startswith(("ws://", "wss://")):
                raise ConfigError(f"{url!r} is no endpoint", "give a ws:// or wss:// address")
        self.urls = tuple(dict.fromkeys(urls))
        self._states = {url: _State() for url in self.urls}
        self._rng = rng

    def next(self, now_s: float) -> tuple[str, float]:
        """An address, and the seconds to wait before it may be tried."""
        ready = [url for url in self.urls if self._states[url].not_before_s <= now_s]
        if ready:
            return min(ready, key=lambda url: self._states[url].failures), 0.0
        url = min(self.urls, key=lambda url: self._states[url].not_before_s)
        return url, self._states[url].not_before_s - now_s

    def failed(self, url: str, error: ChainError, now_s: float, *, hurried: bool = False) -> float:
        """It failed; the seconds for which it is left alone. hurried: it had little time, and says no more than that.

        Full jitter (uniform below the bound) spreads the clients of a node that came back; one that is busy is
        left alone longer, one of another chain as long as any.
        """
        state = self._states[url]
        bound_s = min(CHAIN_BACKOFF_MAX_S, CHAIN_BACKOFF_MIN_S * 2 ** min(state.failures, _DOUBLINGS_MAX))
        wait_s = self._rng.uniform(0.0, bound_s)
        if isinstance(error, Busy):
            wait_s += CHAIN_BUSY_S
        elif isinstance(error, WrongChain):
            wait_s = CHAIN_BACKOFF_MAX_S
        state.failures += 1
        state.not_before_s = now_s + wait_s
        if not hurried or state.why is None or isinstance(error, WrongChain):
            state.why = error
        return wait_s

    def good(self, url: str) -> None:
        """It answered: what was before is forgotten."""
        state = self._states[url]
        if state.failures:
            self._states[url] = _State()

    @property
    def hopeless(self) -> bool:
        """Whether each of them is of another chain: waiting would not help."""
        return all(isinstance(state.why, WrongChain) for state in self._states.values())

    def error(self) -> ChainError:
        """Why none can be used, in one line that names each."""
        whys = [self._states[url].why for url in self.urls]
        if self.hopeless:
            wrong = next(why for why in whys if why is not None)
            return WrongChain(wrong.what, wrong.remedy)
        reasons = "; ".join(
            f"{shown(url)}: not tried in time" if why is None else why.what
            for url, why in zip(self.urls, whys, strict=True)
        )
        remedy = "check the endpoints, and that this machine can reach them; add another one"
        return ChainUnreachable(f"the chain does not answer: {reasons}", remedy)

"""Several things at once, until one of them ends. Knows nothing of NATS but how its client takes cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def first(*work: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, which it does by raising; end the others, and raise that."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting = {task for task in tasks if not task.done()}
        while waiting:
            # Once is not enough: nats-py lets a cancellation be forgotten while it sends.
            for task in waiting:
                task.cancel()
            _, waiting = await asyncio.wait(waiting, timeout=0.2)
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()

"""Of a batch that an engine left: whether it is going to be taken at all. Asks the engine; changes nothing.

A peer that offers such a batch is not asked for it for a while. Who reads it in a stream has to know whether to wait.
"""

from __future__ import annotations

from mycelium._core.codec import Batch
from mycelium.config import GENERATIONS_MAX
from mycelium.database.engine import Engine
from mycelium.database.vector import Origin


def never(engine: Engine, batch: Batch) -> str | None:
    """Why it is not going to be taken, whatever becomes known: a word. None: it may be, later."""
    origin, last = Origin(batch.account, batch.generation), batch.seq_first + batch.count - 1
    if engine.frozen.reaches(batch.space, origin, last):
        return "frozen"
    if engine.seals.is_past(batch.space, origin, batch.epoch, last):
        return "sealed"
    held = engine.vector(batch.space)
    known = {one for one in held if one.account == batch.account}
    known |= engine.frozen.generations(batch.space, batch.account)
    return "generations" if origin not in held and len(known) >= GENERATIONS_MAX else None

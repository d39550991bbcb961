"""What a member has written goes into a stream that is new: one that was deleted is made again, and is empty then.

Of its own origin alone: whoever wrote the rest does the same with it. The server drops what it has already.
"""

from __future__ import annotations

import asyncio
import logging

from mycelium.database import backup
from mycelium.database.database import Database
from mycelium.database.schema import META_FLEET
from mycelium.database.store import Column
from mycelium.fleet.origin import Origins
from mycelium.identity import signing
from mycelium.identity.keys import preimage

log = logging.getLogger(__name__)


async def into(database: Database, origins: Origins, space: str, stream: str) -> int:
    """Publish this node's own log of a space, if it is not known to be in that stream. How many batches that were.

    stream: of `Origins.stream`. Raises what `Origins.publish` does: then it is done with the next term.
    """
    key, store, engine = META_FLEET + space.encode(), database.store, database.engine
    mark = backup.fleet_mark(database.generation, stream)
    if store.get(Column.META, key) == mark:
        return 0
    count = 0
    for _, raw, signature in engine.log_records(space, engine.origin, 1, engine.own_head(space)):
        await origins.publish(space, raw, signature, preimage(signing.BATCH, raw)[-32:], carry=False)
        count += 1
    write = store.batch()
    write.put(key, mark, store.column(Column.META))
    store.commit(write)
    # From now on the stream may have what the store has not: a node alone must find that out whatever happens.
    await asyncio.get_running_loop().run_in_executor(None, store.sync)
    if count:
        log.warning("%d batches of this node were published again to a new stream of %s", count, space)
    return count

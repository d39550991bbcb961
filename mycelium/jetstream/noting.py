"""When a bridge notes where it is: when that has changed, and now and then while it has not. Publishes no batches."""

from __future__ import annotations

from typing import Final

from mycelium.config.jetstream import BRIDGE_NOTE_S
from mycelium.errors import BrokerError
from mycelium.jetstream import marks
from mycelium.jetstream.client import Session
from mycelium.jetstream.marks import Mark
from mycelium.jetstream.problems import Problems
from mycelium.jetstream.source import Identity
from mycelium.node.nats_settings import NatsSettings

_SUBJECT: Final = "the note of the cursor"


class Noter:
    """Of one bridge. What goes wrong is a problem, and no reason to stop: the next start only reads more again."""

    def __init__(self, settings: NatsSettings, problems: Problems) -> None:
        self._settings = settings
        self._problems = problems
        self._noted = ("", "")
        self._noted_s = 0.0
        self._lacking = False

    async def note(self, session: Session, identity: Identity, mark: Mark, now_s: float) -> None:
        """Write the mark down where it is due. now_s: monotonic. BrokerUnreachable: the session is lost."""
        noted = (mark.cursor, mark.problem)
        if noted == self._noted and now_s - self._noted_s < BRIDGE_NOTE_S:
            return
        try:
            if self._lacking:
                await marks.ensure(session, identity.network, self._settings)
            key = marks.key_of(identity.account, identity.generation)
            await marks.save(session, identity.network, key, mark)
        except BrokerError as error:
            session.check()
            self._lacking = True
            self._problems.say(_SUBJECT, error)
            return
        self._lacking = False
        self._problems.over(_SUBJECT)
        self._noted, self._noted_s = noted, now_s

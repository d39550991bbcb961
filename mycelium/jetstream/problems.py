"""What keeps something from going on, by subject: logged when it begins, changes and ends, and not in between.

Keeps texts; knows nothing of what they are about.
"""

from __future__ import annotations

import logging

from mycelium.redaction import masked


class Problems:
    """Of one thing that runs. log: where it is said."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._known: dict[str, str] = {}

    @property
    def texts(self) -> list[str]:
        """Those of now, as one line each."""
        return [f"{subject}: {text}".replace("\n  ", " -- ") for subject, text in self._known.items()]

    def say(self, subject: str, problem: object) -> None:
        """Something about the subject is wrong."""
        text = masked(str(problem) or type(problem).__name__)
        if self._known.get(subject) != text:
            self._known[subject] = text
            self._log.warning("%s: %s", subject, text)

    def over(self, subject: str) -> None:
        """Nothing about the subject is wrong any more."""
        if self._known.pop(subject, None) is not None:
            self._log.info("%s: works again", subject)

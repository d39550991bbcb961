"""What a check comes to. Knows nothing of what is checked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """fail: the node does not start or work so. warn: it works worse than it could, or will not for long."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's verdict. remedy: what to do, "" where there is nothing."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def ok(name: str, found: str) -> Finding:
    return Finding(name, Verdict.OK, found)


def warn(name: str, found: str, remedy: str) -> Finding:
    return Finding(name, Verdict.WARN, found, remedy)


def fail(name: str, found: str, remedy: str) -> Finding:
    return Finding(name, Verdict.FAIL, found, remedy)


def skipped(name: str, found: str, remedy: str = "") -> Finding:
    return Finding(name, Verdict.SKIPPED, found, remedy)

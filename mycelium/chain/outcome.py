"""What became of an operation: one shape for all of them, with or without a submission, and the way to submit.

Owns the order of things: what is checked before anything is signed, the dry run, the submission, and the reading of a
refusal. Never raises for a rule of the chain: that is a result. What is no rule (nobody answers, in no block in time)
is raised as it comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeVar, Unpack

from mycelium.chain.balance import format_tao
from mycelium.chain.dispatch import Refusal, Subject, explain
from mycelium.chain.extrinsics import Receipt
from mycelium.chain.inclusion import INCLUDED
from mycelium.chain.schedule import PALLET
from mycelium.config import CHAIN_INCLUSION_S
from mycelium.errors import ExtrinsicFailed, ExtrinsicInvalid

if TYPE_CHECKING:
    from mycelium.chain.connection import Connection


@dataclass(frozen=True, slots=True)
class Check:
    """One rule, looked at beforehand. detail: what it was compared with. refusal: None where it passed."""

    rule: str
    detail: str
    refusal: Refusal | None = None

    @property
    def ok(self) -> bool:
        return self.refusal is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an operation. call, params: what was sent, or would have been; "" where nothing was needed.

    success: the call was carried out; in a dry run, it would be; when inclusion was not waited for, a node has taken
    it. sent: whether it was submitted, a node's refusal included. fee_rao: what was paid, in a dry run what would be.
    """

    call: str
    params: Mapping[str, Any] = field(default_factory=dict)
    success: bool
    sent: bool = False
    dry_run: bool = False
    refusal: Refusal | None = None
    receipt: Receipt | None = None
    fee_rao: int = 0
    checks: tuple[Check, ...] = ()

    @property
    def rule(self) -> str:
        """The rule that refused, "" for none: the name of the chain's module error."""
        return "" if self.refusal is None else self.refusal.rule

    @property
    def reason(self) -> str:
        """Why not, in words; "" where nothing refused."""
        return "" if self.refusal is None else self.refusal.reason

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return "" if self.refusal is None else self.refusal.remedy

    @property
    def retry_at_block(self) -> int | None:
        """The first block in which the same may succeed; None where waiting alone changes nothing."""
        return None if self.refusal is None else self.refusal.retry_at_block

    @property
    def retry_in_s(self) -> float | None:
        """Seconds until it can be submitted for that block."""
        return None if self.refusal is None else self.refusal.retry_in_s

    def __bool__(self) -> bool:
        return self.success

    def check(self) -> Self:
        """Itself. ExtrinsicFailed where the call failed in a block, ExtrinsicInvalid where it did not get there."""
        if self.refusal is None:
            return self
        what = f"{self.call or 'nothing'} was refused: {self.refusal}"
        if self.receipt is not None and self.receipt.error is not None:
            error = self.receipt.error
            raise ExtrinsicFailed(what, self.remedy, pallet=error.pallet, name=error.name)
        raise ExtrinsicInvalid(what, self.remedy, data=self.rule)

    def describe(self) -> str:
        """What was or would be sent, and what became of it: one line for each thing, for people."""
        arguments = ", ".join(f"{name}={_short(value)}" for name, value in self.params.items())
        lines = [f"{self.call}({arguments})" if self.call else "nothing to send"]
        lines += [f"  {'ok ' if check.ok else 'NO '} {check.rule}: {check.detail}" for check in self.checks]
        if self.sent or self.dry_run:
            lines.append(f"  fee {format_tao(self.fee_rao)} TAO")
        lines.append(f"  {self.refusal or ('would succeed' if self.dry_run else 'done')}")
        return "\n".join(lines)


O = TypeVar("O", bound=Outcome)  # noqa: E741 - the type of an outcome


class Options(TypedDict, total=False):
    """How an operation is submitted. wait: "included" (default), "submitted" or "finalised". timeout_s: until then.

    era_blocks: after how many blocks it is void. dry_run: nothing is submitted.
    """

    wait: str
    timeout_s: float
    era_blocks: int | None
    dry_run: bool


def passes(rule: str, detail: str, refusal: Refusal | None = None) -> Check:
    """A check: with a refusal, one that did not pass."""
    return Check(rule, detail, refusal)


def first_refusal(checks: Sequence[Check]) -> Refusal | None:
    """Of the first check that did not pass."""
    return next((check.refusal for check in checks if check.refusal is not None), None)


def perform(
    kind: type[O],
    connection: Connection,
    keypair: Any,
    subject: Subject,
    params: Mapping[str, Any],
    checks: Sequence[Check],
    more: Mapping[str, Any] | None = None,
    **options: Unpack[Options],
) -> O:
    """Check, submit a SubtensorModule call and say what became of it, as a `kind` with the fields in `more`."""
    dry_run = options.get("dry_run", False)
    common: dict[str, Any] = {
        "call": f"{PALLET}.{subject.call}",
        "params": dict(params),
        "dry_run": dry_run,
        "checks": tuple(checks),
        **(more or {}),
    }
    refusal = first_refusal(checks)
    if refusal is not None:
        return kind(success=False, refusal=refusal, **common)
    call = connection.compose(PALLET, subject.call, params)
    try:
        receipt = connection.submit(
            call,
            keypair,
            wait=options.get("wait", INCLUDED),
            timeout_s=options.get("timeout_s", CHAIN_INCLUSION_S),
            dry_run=dry_run,
            **({"era_blocks": options["era_blocks"]} if "era_blocks" in options else {}),
        )
    except ExtrinsicInvalid as refused:
        refusal = explain(connection, refused, subject)
        return kind(success=False, sent=not dry_run, refusal=refusal, **common)
    if receipt.error is not None:
        refusal = explain(connection, receipt.error, subject)
    return kind(
        success=receipt.success,
        sent=not dry_run,
        refusal=refusal,
        receipt=receipt,
        fee_rao=receipt.fee_rao,
        **common,
    )


def event_of(receipt: Receipt | None, name: str) -> Any:
    """The attributes of the receipt's first event of SubtensorModule with that name, or None."""
    events = [] if receipt is None else receipt.events
    return next((event.attributes for event in events if (event.pallet, event.name) == (PALLET, name)), None)


def _short(value: Any) -> str:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}...{text[-1]}"

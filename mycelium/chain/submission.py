"""An extrinsic on its way into a block: sent once, watched, looked for when its watch is lost, always with a deadline.

Owns nonces, eras and time limits of what is submitted over one connection. An extrinsic is never sent twice: where an
answer was lost it is looked for by its bytes in the pool and in the blocks of its era. One that a node *refused* is
signed anew when what it was refused for has an innocent cause, as another program's use of the same key.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from mycelium.chain import refusals
from mycelium.chain.access import Access, discarded
from mycelium.chain.extrinsics import (
    IMMORTAL_BLOCKS,
    Call,
    DispatchError,
    Receipt,
    Signed,
    account_of,
    birth,
    compose,
    dispatch_error,
    events_of,
    outcome,
    period_of,
    sign,
)
from mycelium.chain.header import Head, head_of, unhex
from mycelium.chain.inclusion import FINALISED, INCLUDED, Found, Search, Watch
from mycelium.chain.nonces import Nonces
from mycelium.chain.rpc import Lost
from mycelium.chain.runtime import Codec, Runtimes
from mycelium.config import CHAIN_SCAN_S, CHAIN_SUBMISSIONS_MAX
from mycelium.errors import ChainRefused, ChainUnreachable, ExtrinsicInvalid, ExtrinsicTimeout, UsageError
from mycelium.identity import account as accounts

log = logging.getLogger(__name__)

SUBMITTED: Final = "submitted"
WAITS: Final = (SUBMITTED, INCLUDED, FINALISED)
_UNKNOWN_METHOD: Final = -32601
_AGAIN: Final = (refusals.STALE, refusals.PRIORITY, refusals.ANCIENT)


class Submitter:
    """Submissions over one connection. Safe from several threads."""

    def __init__(self, access: Access, runtimes: Runtimes, *, scan_s: float = CHAIN_SCAN_S) -> None:
        self._access = access
        self._runtimes = runtimes
        self._scan_s = scan_s
        self.nonces = Nonces()

    def submit(
        self,
        call: bytes,
        keypair: Any,
        *,
        wait: str,
        timeout_s: float,
        era_blocks: int | None,
        nonce: int | None,
        dry_run: bool,
    ) -> Receipt:
        """See `Connection.submit`."""
        if wait not in WAITS:
            raise UsageError(f"{wait!r} cannot be waited for: {', '.join(WAITS)} can")
        deadline_s = time.monotonic() + timeout_s
        account, period = account_of(keypair), period_of(era_blocks)
        for tries in range(1, CHAIN_SUBMISSIONS_MAX + 1):
            with self.nonces.turn(account, timeout_s):
                signed = self._sign(call, keypair, account, period, nonce)
                if dry_run:
                    self.nonces.release(account, signed.nonce)
                    return self._try_out(signed)
                try:
                    watch = self._send(signed, wait, deadline_s)
                    break
                except ExtrinsicInvalid as refused:
                    self.nonces.release(account, signed.nonce)
                    if tries == CHAIN_SUBMISSIONS_MAX or not self._innocent(refused, signed):
                        raise
                    log.info("signed anew: %s", refused.what)
                except ChainUnreachable:
                    self.nonces.release(account, signed.nonce)  # it never left
                    raise
        with _sent(signed):
            return self._await(signed, watch, wait, deadline_s)

    # --- signing ----------------------------------------------------------------------------------------

    def _sign(
        self, call: bytes, keypair: Any, account: bytes, period: int | None, nonce: int | None
    ) -> Signed:
        codec = self._runtimes.best()
        if isinstance(call, Call) and call.spec_version != codec.version.spec:
            # Its bytes were for another runtime, to which the same bytes may be another call.
            call = compose(codec, call.pallet, call.function, call.params)
        best, final, node_next = self._heads_and_nonce(account)
        genesis = self._access.genesis
        if period is None:
            born, born_hash, death = 0, genesis, best.number + IMMORTAL_BLOCKS
        else:
            born, born_hash = self._birth(period, best, final)
            death = born + period
        fresh = nonce is None
        if nonce is None:
            nonce = self.nonces.take(account, node_next, best.number, death)
        else:
            self.nonces.note(account, nonce, death)
        try:
            raw = sign(
                codec,
                call,
                keypair,
                nonce=nonce,
                genesis=genesis,
                period=period,
                born=born,
                born_hash=born_hash,
            )
        except BaseException:
            self.nonces.release(account, nonce)
            raise
        mortal = period is not None
        since = born if mortal else max(final.number, best.number - IMMORTAL_BLOCKS)
        return Signed(raw, account, nonce, death, mortal, since, codec.version.spec, fresh)

    def _heads_and_nonce(self, account: bytes) -> tuple[Head, Head, int]:
        final_hash, best_hash, node_next = self._access.batch(
            [
                ("chain_getFinalizedHead", []),
                ("chain_getBlockHash", []),
                ("system_accountNextIndex", [accounts.format(account)]),
            ]
        )
        final, best = self._access.batch(
            [("chain_getHeader", [final_hash]), ("chain_getHeader", [best_hash])]
        )
        return head_of(best), head_of(final), int(node_next)

    def _birth(self, period: int, best: Head, final: Head) -> tuple[int, bytes]:
        """Where the era begins: at the finalised head, which no reorganisation takes away.

        Where finality hangs back by half of the era, half of it behind the best block.
        """
        current = max(final.number, best.number - period // 2)
        born = birth(period, current)
        known = {final.number: final.hash, best.number: best.hash}.get(born)
        if known is None:
            known = self._access.request("chain_getBlockHash", [born])
        return born, unhex(known)

    def _innocent(self, refused: ExtrinsicInvalid, signed: Signed) -> bool:
        """Whether signing anew may help, and the nonce is ours to choose."""
        kind = refusals.kind_of(refused)
        if kind == refusals.BAD_PROOF:
            return self._runtimes.best().version.spec != signed.spec_version
        return signed.fresh and kind in _AGAIN

    # --- sending and waiting ----------------------------------------------------------------------------

    def _send(self, signed: Signed, wait: str, deadline_s: float) -> Watch | None:
        """Submit it; its watch, None when that was lost and it must be looked for.

        Raises ExtrinsicInvalid when it was refused, ChainUnreachable when it was not sent.
        """
        left_s = max(0.01, deadline_s - time.monotonic())
        rpc = self._access.rpc
        try:
            if wait == SUBMITTED:
                rpc.request("author_submitExtrinsic", [signed.hex], timeout_s=left_s)
                return None
            socket, subscription = rpc.subscribe(
                "author_submitAndWatchExtrinsic", [signed.hex], timeout_s=left_s
            )
            return Watch(socket, subscription)
        except Lost as lost:
            log.warning("the answer to a submission was lost (%s): it is looked for", lost.what)
            if wait == SUBMITTED:
                with _sent(signed):
                    self._search(signed).until_seen(deadline_s)
            return None
        except ChainRefused as refused:
            if refusals.kind_of(refused) == refusals.IMPORTED:
                return None
            if refused.code == _UNKNOWN_METHOD and wait != SUBMITTED:
                return self._send(signed, SUBMITTED, deadline_s)
            raise refusals.invalid(refused) from None

    def _await(self, signed: Signed, watch: Watch | None, wait: str, deadline_s: float) -> Receipt:
        if wait == SUBMITTED:
            return Receipt(signed.hash, None, None, True)
        found = None if watch is None else watch.until(wait, signed, deadline_s)
        if found is None or found.why:
            found = self._settled(signed, found, wait, deadline_s)
        while True:
            try:
                return self._receipt(signed, found.block_hash)
            except LookupError:
                # Reorganised away between its notice and our look; it is in the pool again, or in another block.
                found = self._search(signed).until(wait, deadline_s)

    def _settled(self, signed: Signed, found: Found | None, wait: str, deadline_s: float) -> Found:
        """After the watch was lost, or said that the node gave the extrinsic up."""
        search = self._search(signed)
        if found is None:
            return search.until(wait, deadline_s)
        # Given up by this node, as stale perhaps because another one's block holds it.
        block = search.look()
        if block is not None:
            return search.until(wait, deadline_s)
        self.nonces.release(signed.account, signed.nonce)
        raise ExtrinsicInvalid(
            f"the node gave the extrinsic up: {found.why}",
            "it is in no block; check the account's nonce and balance, and submit anew",
        )

    def _search(self, signed: Signed) -> Search:
        return Search(self._access, signed, self._scan_s)

    def _receipt(self, signed: Signed, block_hash: str) -> Receipt:
        """From the block's events. LookupError when the block has not the extrinsic, or is not there."""
        try:
            codec = self._runtimes.made(block_hash)
            block, raw = self._access.batch(
                [("chain_getBlock", [block_hash]), ("state_getStorage", [codec.events_key, block_hash])]
            )
        except ChainRefused as refused:
            if discarded(refused):
                raise LookupError(block_hash) from None
            raise
        if not isinstance(block, Mapping):
            raise LookupError(block_hash)
        try:
            index = block["block"]["extrinsics"].index(signed.hex)
        except ValueError:
            raise LookupError(signed.hash) from None
        number = head_of(block["block"]["header"]).number
        events = events_of(codec, unhex(raw), index)
        success, error, fee = outcome(codec, events)
        return Receipt(signed.hash, block_hash, number, success, error, events, fee)

    # --- trying out -------------------------------------------------------------------------------------

    def _try_out(self, signed: Signed) -> Receipt:
        """What a node would say and charge. Raises ExtrinsicInvalid where it would refuse."""
        codec = self._runtimes.best()
        length = len(signed.raw).to_bytes(4, "little")
        fee = self._call(codec, "TransactionPaymentApi", "query_info", signed.raw + length)
        error = self._dry_run(codec, signed)
        fee_rao = int(fee["partial_fee"]) if isinstance(fee, dict) else 0
        return Receipt(signed.hash, None, None, error is None, error, [], fee_rao)

    def _call(self, codec: Codec, api: str, method: str, arguments: bytes) -> Any:
        declared = codec.apis.get(api, {}).get(method)
        if declared is None:
            return None
        answer = self._access.request("state_call", [f"{api}_{method}", f"0x{arguments.hex()}"])
        return codec.runtime.decode(declared["output"], unhex(answer))

    def _dry_run(self, codec: Codec, signed: Signed) -> DispatchError | None:
        """By `system_dryRun`; public nodes do not offer it, and are asked whether they would take it."""
        try:
            result = unhex(self._access.request("system_dryRun", [signed.hex]))
        except ChainRefused as refused:
            log.info("the node makes no dry runs (%s): only whether it takes it is known", refused.what)
            self._validate(codec, signed)
            return None
        if result[:2] == b"\x00\x00":
            return None
        if result[:2] == b"\x00\x01":
            kind = codec.type_of("sp_runtime", "DispatchError")
            return dispatch_error(codec, codec.runtime.decode(kind, result[2:]))
        raise _refused_kind(result[2:4] if result[:2] == b"\x01\x00" else b"\xff")

    def _validate(self, codec: Codec, signed: Signed) -> None:
        best = self._access.request("chain_getBlockHash")
        external = b"\x02"
        answer = self._call(
            codec,
            "TaggedTransactionQueue",
            "validate_transaction",
            external + signed.raw + unhex(best),
        )
        error = answer.get("Err") if isinstance(answer, dict) else None
        if error is not None:
            raise refusals.invalid(ChainRefused("Invalid Transaction", code=1010, data=_lowered(error)))


@contextmanager
def _sent(signed: Signed) -> Iterator[None]:
    """Once it was sent, an unreachable chain means that its fate is unknown: nobody may take it for not submitted."""
    try:
        yield
    except ChainUnreachable as error:
        raise ExtrinsicTimeout(
            f"extrinsic {signed.hash} was sent, and then {error.what}",
            "it may be in a block: look for its hash before submitting anew",
        ) from error


_KINDS: Final = (
    refusals.CALL,
    refusals.PAYMENT,
    refusals.FUTURE,
    refusals.STALE,
    refusals.BAD_PROOF,
    refusals.ANCIENT,
    refusals.EXHAUSTS,
    refusals.CUSTOM,
)
"""In the order of the variants of `InvalidTransaction`."""


def _refused_kind(scale: bytes) -> ExtrinsicInvalid:
    """`InvalidTransaction` in SCALE as what a submission would have raised."""
    kind = _KINDS[scale[0]] if scale[:1] and scale[0] < len(_KINDS) else refusals.UNKNOWN
    value = scale[1] if kind == refusals.CUSTOM and len(scale) > 1 else None
    return refusals.invalid(ChainRefused("Invalid Transaction", code=1010, data={"invalid": {kind: value}}))


def _lowered(error: Any) -> Any:
    """A decoded `TransactionValidityError` in the spelling of JSON: {"Invalid": "Stale"} -> {"invalid": "stale"}."""
    if isinstance(error, dict):
        return {key[:1].lower() + key[1:]: _lowered(value) for key, value in error.items()}
    return error[:1].lower() + error[1:] if isinstance(error, str) else error

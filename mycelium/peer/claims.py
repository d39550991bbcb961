"""Claims: what members say against members, and whom enough of them accuse. Sans-IO.

The most dangerous thing that nodes tell each other: whoever could have others believe it would cut off whom he likes.
So a claim is signed, ends by itself, can greylist and nothing more, and counts only with others: the issuers against
one account must be CLAIM_ACCOUNTS_MIN or more and hold a third of the stake of all members that write; at most a tenth
of these members is greylisted so at a time. Whom it is never: the node's own account, the subnet's owner, and whoever
`pardoned` says (the operator's list, a high stake). Where nobody has any stake each member counts the same.

Whom the claims greylist is a function of the live claims and the members, and of nothing else: not of their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from mycelium.config import CLAIM_BYTES_MAX
from mycelium.config.peer import (
    CLAIM_ACCOUNTS_MIN,
    CLAIM_CLOCK_SLACK_MS,
    CLAIM_LIFETIME_MS,
    CLAIM_MEMBERS_SHARE,
    CLAIM_STAKE_SHARE,
    CLAIMS_MAX,
    CLAIMS_PER_HOUR_MAX,
    CLAIMS_PER_ISSUER_MAX,
)
from mycelium.errors import BadSignature, MalformedMessage, OversizedMessage, StaleMessage, WrongNetwork
from mycelium.identity.keys import digest, verify
from mycelium.identity.signing import CLAIM, Signer
from mycelium.peer.bucket import Bucket
from mycelium.peer.network import Network
from mycelium.protocol.messages import Claim

_MS = 1_000_000
_HOUR_MS = 3_600_000


class Held(NamedTuple):
    """A claim as it travelled. until_ms: when it ends, whatever it says."""

    raw: bytes
    signature: bytes
    claim: Claim
    digest: bytes
    until_ms: int

    @property
    def rank(self) -> tuple[int, bytes]:
        """Of two of one issuer the greater is the newer."""
        return self.claim.issued, self.digest


class Verdict(Enum):
    """What became of a claim."""

    NEW = "kept"
    OLD = "not newer than the one that is kept, or over"
    FOREIGN = "of or about somebody who is no member"
    LATER = "more than its issuer may say in a while"


class Claims:
    """The live claims that one node knows. Times are wall-clock ms."""

    def __init__(self, account: bytes, network: Network) -> None:
        self._account = account
        self._network = network
        self._held: dict[bytes, dict[bytes, Held]] = {}
        """Issuer -> accused -> its claim."""
        self._count = 0
        self._buckets: dict[bytes, Bucket] = {}
        self._weights: dict[bytes, int] = {}

    def __len__(self) -> int:
        return self._count

    def members(self, stakes: Mapping[bytes, int]) -> None:
        """Who writes in this epoch, with their stake; claims of and about others go."""
        self._weights = {account: max(1, stake) for account, stake in stakes.items()}
        for held in list(self.all()):
            if not {held.claim.issuer, held.claim.accused} <= stakes.keys():
                self._drop(held)
        self._buckets = {account: bucket for account, bucket in self._buckets.items() if account in stakes}

    def all(self) -> Iterable[Held]:
        """Every claim that is kept, by issuer and accused."""
        for issuer in sorted(self._held):
            for accused in sorted(self._held[issuer]):
                yield self._held[issuer][accused]

    def against(self, account: bytes) -> list[Held]:
        """By issuer."""
        return [found for issuer in sorted(self._held) if (found := self._held[issuer].get(account))]

    # --- taking claims ------------------------------------------------------------------------------------

    def make(self, signer: Signer, accused: bytes, reason: str, now_ms: int, lifetime_ms: int) -> Held:
        """A claim of our own, kept at once."""
        claim = Claim(
            self._network.netuid,
            self._network.genesis,
            self._account,
            accused,
            reason,
            now_ms * _MS,
            (now_ms + min(lifetime_ms, CLAIM_LIFETIME_MS)) * _MS,
        )
        raw = claim.encode()
        held = Held(raw, signer.sign(CLAIM, raw), claim, digest(raw), claim.expires // _MS)
        self._keep(held)
        return held

    def offer(self, raw: bytes, signature: bytes, now_ms: int) -> tuple[Claim, Verdict]:
        """Look at a claim that somebody passed on, and keep it if it is news.

        Raises what nobody may pass on: MalformedMessage, OversizedMessage, WrongNetwork, StaleMessage (over, or not
        begun, by more than clocks differ), BadSignature. What would not be kept is not verified.
        """
        if len(raw) > CLAIM_BYTES_MAX:
            raise OversizedMessage(f"a claim of {len(raw)} bytes, at most {CLAIM_BYTES_MAX}")
        claim = Claim.decode(raw)
        self._check(claim, now_ms)
        until_ms = min(claim.expires, claim.issued + CLAIM_LIFETIME_MS * _MS) // _MS
        if not {claim.issuer, claim.accused} <= self._weights.keys():
            return claim, Verdict.FOREIGN
        held = Held(raw, signature, claim, digest(raw), until_ms)
        before = self._held.get(claim.issuer, {}).get(claim.accused)
        if until_ms <= now_ms or claim.issuer == self._account or (before and held.rank <= before.rank):
            return claim, Verdict.OLD
        if not self._has_room(held):
            return claim, Verdict.LATER
        if not verify(claim.issuer, CLAIM, raw, signature):
            raise BadSignature("a claim that its issuer did not sign")
        # Counted only now: nobody else can use it up.
        bucket = self._buckets.setdefault(claim.issuer, Bucket(CLAIMS_PER_HOUR_MAX, CLAIMS_PER_ISSUER_MAX))
        if bucket.take(1, now_ms * _MS // (_HOUR_MS // 1000)) > 0:
            return claim, Verdict.LATER
        self._keep(held)
        return claim, Verdict.NEW

    def _check(self, claim: Claim, now_ms: int) -> None:
        if (claim.netuid, claim.genesis) != (self._network.netuid, self._network.genesis):
            raise WrongNetwork(f"a claim of netuid {claim.netuid}, genesis {claim.genesis.hex()[:16]}")
        if claim.issuer == claim.accused:
            raise MalformedMessage("a claim of an account about itself")
        if claim.issued >= claim.expires:
            raise MalformedMessage("a claim that is valid for no time")
        until_ms = min(claim.expires, claim.issued + CLAIM_LIFETIME_MS * _MS) // _MS
        if until_ms + CLAIM_CLOCK_SLACK_MS < now_ms:
            raise StaleMessage("a claim that is over")
        if claim.issued > (now_ms + CLAIM_CLOCK_SLACK_MS) * _MS:
            raise StaleMessage("a claim from the future")

    def _has_room(self, held: Held) -> bool:
        own = self._held.get(held.claim.issuer, {})
        if held.claim.accused in own:
            return True
        if len(own) >= CLAIMS_PER_ISSUER_MAX:
            return held.rank > min(one.rank for one in own.values())
        return self._count < CLAIMS_MAX

    def _keep(self, held: Held) -> None:
        own = self._held.setdefault(held.claim.issuer, {})
        self._count += held.claim.accused not in own
        own[held.claim.accused] = held
        if len(own) > CLAIMS_PER_ISSUER_MAX:
            self._drop(min(own.values(), key=lambda one: one.rank))

    def _drop(self, held: Held) -> None:
        own = self._held[held.claim.issuer]
        del own[held.claim.accused]
        self._count -= 1
        if not own:
            del self._held[held.claim.issuer]

    def tick(self, now_ms: int) -> None:
        """Forget what is over."""
        for held in list(self.all()):
            if held.until_ms <= now_ms:
                self._drop(held)

    # --- what follows -------------------------------------------------------------------------------------

    def greylisted(self, pardoned: Callable[[bytes, int], bool]) -> dict[bytes, list[Held]]:
        """Whom the claims greylist now, and by which. pardoned(account, issued_ms): whether such a claim is nothing."""
        total = sum(self._weights.values())
        against: dict[bytes, list[Held]] = {}
        for held in self.all():
            accused = held.claim.accused
            if accused != self._account and not pardoned(accused, held.claim.issued // _MS):
                against.setdefault(accused, []).append(held)
        accused_by = [
            (sum(self._weights[held.claim.issuer] for held in claims), accused)
            for accused, claims in against.items()
            if len(claims) >= CLAIM_ACCOUNTS_MIN
        ]
        enough = [(stake, accused) for stake, accused in accused_by if CLAIM_STAKE_SHARE * stake >= total]
        enough.sort(reverse=True)
        most = len(self._weights) // CLAIM_MEMBERS_SHARE
        return {accused: against[accused] for _, accused in enough[:most]}

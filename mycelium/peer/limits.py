"""Limits of scores, greylist, blacklist, claims and proofs, with unit and cost, as `config` has all others.

Beside `config` only because that is as long as a file may be. Names end in their unit; counts end in `_MAX`.
"""

from __future__ import annotations

from typing import Final

BLACKLIST_FAILURES: Final = 5
"""Broken rules that greylist an account, where they come within BLACKLIST_FORGET_MS."""
BLACKLIST_FORGET_MS: Final = 3_600_000
"""In this time so many are forgotten, evenly: fewer than that an hour never greylist."""
GREYLIST_MS: Final = 3_600_000
GREYLISTINGS_MAX: Final = 10
"""Greylistings that blacklist an account."""
GREYLISTINGS_FORGET_MS: Final = 7 * 24 * 3_600_000
"""Without another greylisting for so long, an account starts anew; who is blacklisted stays it."""
PARDON_RAO: Final = 1000 * 10**9
"""Whoever has this stake is neither greylisted nor blacklisted, except by the operator."""
BLACKLIST_ROWS_MAX: Final = 4_096
"""Accounts with a record, some 200 bytes each; the one that matters least gives way."""
BLACKLIST_WHY_CHARS_MAX: Final = 200
CLAIM_LIFETIME_MS: Final = 24 * 3_600_000
"""A claim ends after this, whatever it says."""
CLAIM_CLOCK_SLACK_MS: Final = 10 * 60_000
CLAIMS_MAX: Final = 4_096
"""Live claims kept, 600 bytes each."""
CLAIMS_PER_ISSUER_MAX: Final = 16
"""Of one member; its older ones give way, so that accusing everybody accuses few."""
CLAIMS_PER_HOUR_MAX: Final = 30
"""New claims of one issuer that are taken and passed on, after a burst of CLAIMS_PER_ISSUER_MAX."""
CLAIM_ACCOUNTS_MIN: Final = 5
CLAIM_STAKE_SHARE: Final = 3
"""Claims count when their issuers are so many, and hold one in so many of the members' whole stake."""
CLAIM_MEMBERS_SHARE: Final = 10
"""Of so many members at most one is greylisted by claims at a time."""
CLAIM_RELAYS: Final = 3
"""Peers that a newly learnt claim is passed on to."""
PROOFS_FETCHED_MAX: Final = 4
"""Proofs asked for at once, each up to PROOF_BYTES_MAX."""
PROOF_FETCH_S: Final = 10.0
PROOF_ITEMS: Final = 64
"""A proof that is given to a peer weighs as many items of BLACKLIST_ITEMS_PER_S: 100 bytes ask for a megabyte."""
PROOF_RETRY_MS: Final = 30_000
"""For a proof that could not be had, or not be judged as its block was not known here."""
PROOFS_WANTED_MAX: Final = 1_024
BLACKLIST_ITEMS_PER_S: Final = 16
BLACKLIST_ITEMS_BURST: Final = 8_192
"""Claims and heads of proofs heard from one session; 50 us each where it is news. What is beyond is not looked at."""
ADDRESS_FAILURES: Final = 32
"""Failed handshakes of one address (an IPv4 address, an IPv6 /64) within ADDRESS_BAN_MS that ban it for as long. It is
short: many may share the address, and who is behind it was proved by nobody."""
ADDRESS_BAN_MS: Final = 60_000
ADDRESSES_SCORED_MAX: Final = 8_192
"""Addresses remembered for it, 150 bytes each; the one that failed longest ago gives way."""
CLOCK_STEP_MS: Final = 2_000
"""A clock of the machine that moves this much against the one that never goes back has stepped, and is not followed."""
CLOCK_OFF_MS: Final = 10_000
"""Ahead of most members by more than this, a node writes nothing: what it stamped would be held back everywhere."""
CLOCK_HEARD_MS: Final = 10_000
"""For so long the time that a member said counts; ten pings."""
CLOCK_MEMBERS_MIN: Final = 3
"""Of fewer nobody can say who is wrong."""
CLOCK_ALONE_MS: Final = 30_000
"""After so long a step is believed where there is no member to ask."""

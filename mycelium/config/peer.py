"""Limits of scores, blacklist, claims, proofs and dissemination, with unit and cost."""

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
LIVENESS_RECONNECT_MS: Final = 60_000
"""Between two sessions made anew with one member that others hear and this node does not."""

# --- dissemination: when there is a tree, and its upkeep ---------------------------------------------------

UPLINK_MBIT: Final = 100
UPLINK_MBIT_MAX: Final = 1_000_000
PUSH_UPLINK_PERCENT: Final = 40
"""Of the uplink that pushing to everybody may take; beyond it there is a tree."""
PUSH_MS_MAX: Final = 250
"""One push that takes the uplink longer than this, to all its readers, makes a tree as well."""
PUSH_CALM_MS: Final = 30_000
"""A tree stays until so long after the last reason for it, at half of these thresholds."""
PUSH_WINDOW_MS: Final = 1_000
"""Over which what is pushed is measured; a burst is forgotten at 1/e in so long."""
ABSENT_MS: Final = 15_000
"""A member that others hear, and that has no session here for so long, is reached by a tree. Less than this a session
may take that is only dialled again (DIAL_BACKOFF_MAX_MS)."""
ABSENT_ASK_MS: Final = 10_000
"""Between two questions to a member whom of the absent it hears; the first few come with each ping."""
ABSENT_ACCOUNTS_MAX: Final = 256
"""In one such question, 8 KiB."""
TREE_EAGER: Final = 4
"""Links that a new tree begins with: so many copies the first batch costs. With 3, one node in 17 were left out by the
random graph and waited for an announcement, with 4 one in 50."""
TREE_EAGER_MAX: Final = 8
"""Links that may graft one node, in one tree; further ones are sent what they ask for and pruned."""
TREE_LAZY_MAX: Final = 8
"""Links on which one batch is announced, drawn anew for each; 16 bytes each where many are announced together."""
TREE_HOPS_MAX: Final = 64
"""A batch is pushed over so many links in a row; from there on it goes by announcements alone."""
TREE_GATHER_MS: Final = 50
"""Announcements wait so long for others to go with them."""
TREE_GRAFT_MS: Final = 250
"""What was announced and does not come is asked for after this, and the next announcer after the other: about the
slowest way along the tree, and a round trip round the world."""
TREE_GRAFT_AGAIN_MS: Final = 300
TREE_FASTER_MS: Final = 100
"""A link that announces this much before the tree brings a batch becomes part of the tree, one in TREE_SHY_MS."""
TREE_SETTLE_MS: Final = 1_000
"""Between two changes of the link that a tree comes by: what was under way before the last has arrived by then."""
TREE_MISSED_MAX: Final = 3
"""Batches in a row that another link brought, and the link that a tree comes by did not, make it the other."""
TREE_SHY_MS: Final = 10_000
"""A link that pruned this node is grafted after all others for so long."""
TREES_MAX: Final = 2_048
"""Origins and spaces with a tree here, 1 KiB each; the one that was used longest ago is drawn anew when needed."""
TREE_RECENT_MAX: Final = 8_192
TREE_RECENT_MS: Final = 60_000
"""Batches that spread through here and may be grafted, 500 bytes each."""
TREE_MISSING_MAX: Final = 16_384
TREE_MISSING_PER_LINK_MAX: Final = 512
"""Announced and not here yet, 500 bytes each; what is announced beyond is left to sync."""
TREE_ANNOUNCERS_MAX: Final = 8
"""Of one batch; those that are asked for it, one after the other."""
TREE_REFS_MAX: Final = 256
"""In one message: at most 46 KiB, where each is of another origin."""
TREE_QUEUED_MAX: Final = 1_024
"""Announcements that wait for one link, in the TREE_GATHER_MS in which they do; further ones are left to sync."""
TREE_HAVES_PER_S: Final = 4_096
TREE_HAVES_BURST: Final = 16_384
"""Announcements of one link that are looked at, 2 us each."""
TREE_GRAFTS_PER_S: Final = 512
TREE_GRAFTS_BURST: Final = 2_048
TREE_GRAFT_BYTES_PER_S: Final = 4 * 1024 * 1024
TREE_GRAFT_BYTES_BURST: Final = 8 * 1024 * 1024
"""Grafts of one link that are answered, each batch once: 60 bytes ask for up to 704 KiB."""
PASSED_OVER_PER_S: Final = 16
PASSED_OVER_BURST: Final = 256
"""Of one member: batches that break a rule by the fault of another origin, 60 us each. An honest one passes on only
what it took itself, and so next to none; who sends more has himself to blame."""
TREE_HELD_MAX: Final = 1_024
"""Batches that came along a tree and are not due yet; they go on when they are applied."""


REACH_DIAL_S: Final = 3
"""A member that is asked whether it reaches us tries each of our addresses for so long."""
REACH_PER_MIN: Final = 6
REACH_BURST: Final = 6
"""So often this node dials for members who ask, all together: a connection each, of at most ENDPOINT_ADDRESSES_MAX."""

# --- several nodes of one account -----------------------------------------------------------------------------

MEMBER_NODES_MAX: Final = 16
"""Sessions of one member, each of another generation: the nodes of a fleet. As many as GENERATIONS_MAX lets write."""
FURTHER_NODES_MAX: Final = 512
"""Sessions beyond the first of their member, of all together; a member with many gives way to one with few."""

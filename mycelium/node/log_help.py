"""What a person does about each line of the log: by the text that the program wrote, before names are put into it.

The library says what happened; that its reader runs a node is known here, and only the daemon's log uses it. A test
holds the table against every warning and error of the packages that a node is made of, in both directions.
"""

from __future__ import annotations

import re
from typing import Final

_DISK: Final = "look at the disk of data_dir: space, rights, errors in dmesg; `mycelium doctor` measures it"
_NOTHING: Final = "nothing to do: it mends itself; look at it if it is told again and again"
_BUG: Final = "a fault of Mycelium: please report it, with the lines around it"
_ENDPOINT: Final = "nothing to do if it ends; else check [chain] endpoints, or add another one"

HELP: Final = {
    # --- the chain ---
    "the feed of %s ended: %s": _ENDPOINT,
    "new heads are not heard of: %s": _ENDPOINT,
    "%s cannot be used (%s) and is fetched again": _NOTHING,
    "cached metadata of spec version %d is fetched again: %s": _NOTHING,
    "the answer to a submission was lost (%s): it is looked for": _NOTHING,
    "%s; going on under epoch %d": _ENDPOINT,
    "following the chain: %s failed": _BUG,
    # --- the store ---
    "closing %s: %s": "nothing is lost that was acknowledged; make room on the disk",
    "closing the store: %s": "nothing is lost that was acknowledged; make room on the disk",
    "a stored proof about %s holds no more: %s": _NOTHING,
    "%d batches of %s in %r lie beyond the seal or proof that ends its log: the rows of the space are made anew": (
        "nothing to do: every honest node does the same"
    ),
    "cannot store what peers send: %s": _DISK,
    "cannot store what was held: %s": _DISK,
    "cannot seal the logs of who has left: %s": _DISK,
    "cannot read what a peer asked for: %s": _DISK,
    "cannot store endpoint records: %s": _DISK,
    "cannot store the blacklist: %s": _DISK,
    "cannot store a proof: %s": _DISK,
    "%d rows of %r differ from a member's: they are made anew from the log": _NOTHING,
    "%d rows of %r were not what the signed log says, and are now: check disk and memory": (
        "run a memory test and look at the disk (smartctl); `mycelium doctor` reads every checksum"
    ),
    "comparing rows failed": _BUG,
    # --- peers ---
    "fetching a proof failed": _BUG,
    "passing on endpoint records failed": _BUG,
    "%s has no session here: %s": "`mycelium blacklist explain ACCOUNT` says why, `blacklist remove` forgives it",
    "%s announced a proof that proves nothing here: %s": "nothing to do: it counts against that member",
    "%s: %s; nothing of its generation %d in %r is taken from number %d on": (
        "tell the operator of that account: it signs two logs, or its key is stolen; "
        "`mycelium blacklist explain ACCOUNT` has the proof"
    ),
    "the blacklist's record of %s is damaged and left out": (
        "list it again if it was yours: `mycelium blacklist add ACCOUNT`"
    ),
    "this node cannot say where it listens: %s": "mend [node] advertise or listen",
    "a stored endpoint record is damaged and left out: %s": _NOTHING,
    "a record of this account (%s) was signed by another database of it, generation %d: a restored backup, or "
    "another node that runs with this hotkey": (
        "if you restored no backup, end the other node: an account has one at a time"
    ),
    "%s is heard by others and not here: its session is made anew": (
        "nothing to do if it ends; else look at the network between the two"
    ),
    "%s is silent, and nobody that was asked hears it": "nothing to do: it is that node's operator who must look",
    "the port stays %d, a rotation failed: %s": (
        "let all ports of [rotation] range through the firewall; `mycelium doctor` counts those that are free"
    ),
    "programs on this machine will not find the node: %s: %s": _DISK,
    # --- snapshots and the log's horizon ---
    "%d batches that rows of %r are from had not been given": _NOTHING,
    "no snapshot of %r can be made: %s": _DISK,
    "%s gives a snapshot that breaks a rule: %s": "nothing to do: it is asked of others; that member loses its session",
    "batches of %r had been withheld: it is fetched again from %s": _NOTHING,
    "what was noted of the snapshot of %r is unreadable: it is compared anew": _NOTHING,
    "the snapshot of %r stopped: %s": "nothing to do if it goes on; else look at the disk and the members",
    "the snapshot of %r failed": _BUG,
    "trimming the log stopped: %s": _DISK,
    "trimming the log failed": _BUG,
    # --- policy and configuration ---
    "the policy %s in force is none, so nothing is allowed: %s": (
        "the subnet's owner publishes one that is: `mycelium policy check` and `mycelium policy publish`"
    ),
    "the configuration was read again: changed are %s": "nothing to do",
    "the configuration was read again and nothing is changed: %s": "mend what it names, and send SIGHUP again",
    "%s can be read or changed by other users of this machine; run: chmod 600 %s": "run that command",
}

SAY_IT_THEMSELVES: Final = frozenset({"%s"})
"""Lines that are nothing but a text which has its remedy in it: problems of a node, of the chain, of this account."""
_LEFT_OUT: Final = re.compile(r" \(\d+ more like it were not logged\)$")


def help_for(text: str) -> str:
    """What to do about a line that the program wrote as `text`; "" where nobody has said."""
    return HELP.get(_LEFT_OUT.sub("", text), "")

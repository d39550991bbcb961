"""The [blacklist] section of `node.toml`. Parses; opens nothing.

```toml
[blacklist]                        # all of it may be left out
failures = 5                       # broken rules within an hour that greylist an account
greylist_s = 3600                  # for so long it has no session then
greylistings = 10                  # so many blacklist it, until `mycelium blacklist remove`
pardon_tao = 1000                  # whoever has this stake is neither; 0: nobody is spared for it
claims = true                      # tell other members whom this node has greylisted
always = []                        # SS58 accounts that never have a session
never = []                         # SS58 accounts that are never greylisted or blacklisted
```
"""

from __future__ import annotations

from mycelium.config import peer as limits
from mycelium.identity import account as accounts
from mycelium.peer.blacklist import Rules
from mycelium.tomlfile import Section

_RAO: int = 10**9
_GREYLIST_S_MAX: int = 30 * 86_400


def parse(section: Section) -> Rules:
    """Read the section; mistakes are recorded in its file."""
    failures = section.integer("failures", 1, 1_000_000, limits.BLACKLIST_FAILURES)
    greylist_s = section.integer("greylist_s", 1, _GREYLIST_S_MAX, limits.GREYLIST_MS // 1000)
    greylistings = section.integer("greylistings", 1, 1_000_000, limits.GREYLISTINGS_MAX)
    pardon_tao = section.integer("pardon_tao", 0, 21_000_000, limits.PARDON_RAO // _RAO)
    claims = section.flag("claims", True)
    always, never = _accounts(section, "always"), _accounts(section, "never")
    for account in sorted(always & never):
        section.mistake("never", f"and always both name {accounts.format(account)}", "keep one of them")
    section.finish()
    return Rules(failures, greylist_s * 1000, greylistings, pardon_tao * _RAO, always, never, claims)


def _accounts(section: Section, name: str) -> frozenset[bytes]:
    texts = section.strings(name, "SS58 accounts")
    remedy = "write the SS58 address of a hotkey"
    return frozenset(section.parsed(name, text, accounts.parse, remedy, b"") for text in texts)

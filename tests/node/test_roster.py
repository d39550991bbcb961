"""Whom a node dials and where, and whose session ends: by epoch, by mesh, by what accounts say."""

from __future__ import annotations

import random

from mycelium.errors import Unauthorised
from mycelium.metagraph.membership import Epoch, Member
from mycelium.node.roster import Roster
from mycelium.peer.mesh import neighbours

RNG = random.Random(1)
ACCOUNTS = [RNG.randbytes(32) for _ in range(400)]
ME = ACCOUNTS[0]


class Link:
    def __init__(self, account, role="validator"):
        self.account = account
        self.role = role
        self.ended = []

    def close(self, error=None, text=""):
        self.ended.append(error or text)


class Hub:
    def __init__(self):
        self.open = []
        self.local = type("Local", (), {"account": ME})

    def links(self):
        return self.open


class Dialer:
    def __init__(self):
        self.urls = {}

    def want(self, account, urls):
        self.urls[account] = urls

    def forget(self, account):
        del self.urls[account]

    def wanted(self):
        return dict(self.urls)


def epoch(number, accounts, *, urls=True):
    return Epoch(
        number,
        {account: Member(account, "validator", urls=(url(account),) if urls else ()) for account in accounts},
    )


def url(account):
    return f"ws://{account.hex()[:8]}.example:9090"


def roster(**options):
    roles = options.pop("roles", {})
    return Roster(Hub(), Dialer(), lambda account: roles.get(account, "validator"), **options)


def test_the_order_of_addresses():
    one, other, hidden = ACCOUNTS[1:4]
    said = {one: ("ws://said:1", url(one)), hidden: ()}
    found = roster(urls={one: ("ws://given:1",), hidden: ("ws://given:2",)}, said=said.get)
    found.follow(epoch(1, [ME, one, other, hidden]))
    assert found._dialer.urls == {
        one: ("ws://given:1", "ws://said:1", url(one)),
        other: (url(other),),
        hidden: ("ws://given:2", url(hidden)),
    }
    found.follow(epoch(2, [ME, one, other, hidden], urls=False))
    assert other not in found._dialer.urls, "nothing is known of it"


def test_who_is_no_holder_is_neither_dialled_nor_kept():
    miner, gone, program = ACCOUNTS[1:4]
    found = roster(roles={miner: None, gone: None, program: "client"})
    links = [Link(gone), Link(program, role="client"), Link(ACCOUNTS[5])]
    found._hub.open = links
    found.follow(epoch(1, [ME, miner, ACCOUNTS[5]]))
    assert set(found._dialer.urls) == {ACCOUNTS[5]}
    assert isinstance(links[0].ended[0], Unauthorised)
    assert links[1].ended == links[2].ended == []


def test_a_large_network_is_dialled_in_part_and_old_neighbours_are_let_go():
    given = ACCOUNTS[7]
    found = roster(urls={given: ("ws://given:1",)})
    everybody = epoch(50, ACCOUNTS)
    near = neighbours(50, ACCOUNTS, ME)
    links = {account: Link(account) for account in ACCOUNTS[1:]}
    guest = Link(bytes(32))  # not of the epoch, let in by a policy
    found._hub.open = [*links.values(), guest]
    found.follow(everybody)
    assert set(found._dialer.urls) == near | {given}
    ended = {account for account, link in links.items() if link.ended}
    assert ended == set(links) - near - {given}
    assert "partial mesh" in links[next(iter(ended))].ended[0]
    assert guest.ended == []

    # The same epoch again, as a record has come: nobody is thrown out for it.
    late = Link(next(iter(ended)))
    found._hub.open = [late]
    found.follow(everybody)
    assert late.ended == []

    # The next one: neighbours of both stay, since others enter it a little earlier or later.
    after = neighbours(51, ACCOUNTS, ME)
    links = {account: Link(account) for account in near | after}
    found._hub.open = list(links.values())
    found.follow(epoch(51, ACCOUNTS))
    assert not any(link.ended for link in links.values())
    assert set(found._dialer.urls) == after | {given}
    found.follow(epoch(52, ACCOUNTS))
    assert any(links[account].ended for account in near - after - {given})


def test_up_to_256_everybody_is_dialled():
    found = roster()
    found.follow(epoch(1, ACCOUNTS[:256]))
    assert set(found._dialer.urls) == set(ACCOUNTS[1:256])

"""Chains for tests of operations: one in memory that says what it is told, and development chains of a known subnet."""

from __future__ import annotations

import contextlib
import dataclasses
import time

from devnet.chain.chainkit import ALICE, BOB, COLD, MINERS, NETUID, OWNER, TAO, VALIDATORS, spec, ss58

from mycelium.chain.connection import Connection
from mycelium.chain.extrinsics import DispatchError, Event, Receipt
from mycelium.devnet.chain.thread import ThreadedChain
from mycelium.errors import UnknownToChain

__all__ = [
    "ALICE",
    "BOB",
    "COLD",
    "MINERS",
    "NETUID",
    "OWNER",
    "PALLET",
    "TAO",
    "VALIDATORS",
    "FakeConnection",
    "failed",
    "linked",
    "running",
    "spec",
    "ss58",
    "sudo",
]
PALLET = "SubtensorModule"

SUBNET = {
    "Number": 100,
    "NetworksAdded": True,
    "SubnetworkN": 4,
    "SubnetOwnerHotkey": ss58(OWNER),
    "ValidatorPermit": [True, True, False, False],
    "CommitRevealWeightsEnabled": False,
    "MechanismCountCurrent": 1,
    "WeightsVersionKey": 0,
    "WeightsSetRateLimit": 20,
    "MinAllowedWeights": 1,
    "MaxWeightsLimit": 65_535,
    "Tempo": 10,
    "LastEpochBlock": 95,
    "PendingEpochAt": 0,
    "SubnetEpochIndex": 7,
    "BlocksSinceLastStep": 5,
    "RevealPeriodEpochs": 1,
    "StakeThreshold": 0,
    "CommitRevealWeightsVersion": 4,
    "LastStoredRound": 0,
    "Uids": 1,
    "LastUpdate": [0, 0, 0, 0],
}
"""A subnet at block 100, with a validator's hotkey at uid 1."""


class FakeConnection:
    """A chain in memory. values: by storage item. calls: names it has. submit: (call, params) -> Receipt, or raises."""

    def __init__(self, values=None, *, calls=("set_weights",), apis=None, constants=None, submit=None):
        self.values = {**SUBNET, **(values or {})}
        self.calls = calls
        self.apis = apis or {}
        self.constants = constants or {}
        self.answer = submit or (lambda call, params: Receipt("0x01", "0x02", 101, True))
        self.submitted = []
        self.requests = 0

    def has_storage(self, pallet, item):
        return self.values.get(item, "") != "absent" and item in self.values

    def has_call(self, pallet, name):
        return name in self.calls

    def has_api(self, api, method):
        return method in self.apis

    def runtime_api(self, api, method, params=(), block_hash=None):
        self.requests += 1
        return self.apis[method]

    def constant(self, pallet, name):
        if name not in self.constants:
            raise UnknownToChain(f"no constant {name}")
        return self.constants[name]

    def read_many(self, wanted, block_hash=None):
        self.requests += 1
        return [self.values[item] for _, item, _ in wanted]

    def read(self, pallet, item, params=(), block_hash=None):
        return self.read_many([(pallet, item, params)])[0]

    def compose(self, pallet, function, params):
        return (pallet, function, dict(params))

    def submit(self, call, keypair, **options):
        self.submitted.append((*call, options))
        return self.answer(call[1], call[2])


def failed(name, pallet=PALLET, docs=""):
    """A receipt of a call that failed in its block."""
    return Receipt("0x01", "0x02", 101, False, DispatchError(pallet, name, docs), [Event("System", "x", {})])


@contextlib.contextmanager
def running(blocks="instant", **keywords):
    """A development chain whose time is now, and a connection to it. keywords: of `spec`."""
    begun = dataclasses.replace(spec(**keywords), genesis_time_ms=int(time.time() * 1000))
    with ThreadedChain(begun, blocks=blocks) as chain, linked(chain) as connection:
        yield chain, connection


@contextlib.contextmanager
def linked(chain):
    with Connection(chain.url, cache_dir=None, scan_s=0.01) as connection:
        yield connection


def sudo(connection, pallet, function, **params):
    """A call by root, which must succeed."""
    call = connection.compose(pallet, function, params)
    receipt = connection.submit(connection.compose("Sudo", "sudo", {"call": call}), ALICE)
    assert receipt.success, receipt
    (result,) = [event.attributes for event in receipt.events if event.name == "Sudid"]
    assert "Ok" in str(result), result

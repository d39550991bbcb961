"""Submissions over connections that break: looked up and never sent again, with an end to every wait."""

from __future__ import annotations

import contextlib

import pytest
from chain.clientkit import Drop, Refused, Scripted, until
from chain.submitkit import ALICE, BOB, TAO, Later, balance, pooled, to, transfer

from mycelium.chain.connection import Connection
from mycelium.devnet.chain.population import RICH_RAO
from mycelium.devnet.chain.thread import ThreadedChain
from mycelium.errors import (
    ChainError,
    ChainUnreachable,
    ExtrinsicInvalid,
    ExtrinsicTimeout,
)

# --- connections that break ---------------------------------------------------------------------------------


def test_a_lost_watch_is_followed_through_the_blocks(stepped):
    with to(stepped) as connection:
        later = Later(lambda: connection.submit(transfer(connection), ALICE, wait="finalised"))
        until(lambda: pooled(stepped))
        stepped.faults.drop_connections()
        stepped.step(4)
        receipt = later.result()
        assert receipt.success
        assert receipt.block_number == 1
        assert balance(connection, BOB) == RICH_RAO + TAO


class Loses:
    """A node between: it passes everything on, and drops the connection instead of the answers to submissions."""

    def __init__(self, chain, before=False):
        self.behind = Connection(chain.url, cache_dir=None)
        self.lost = 0
        self.before = before

    def __call__(self, method):
        def ask(*params):
            if method.startswith("author_submit"):
                self.lost += 1
                if not self.before:
                    self.behind.access.request("author_submitExtrinsic", params)
                raise Drop
            try:
                return self.behind.access.request(method, params)
            except ChainError as error:
                raise Refused(getattr(error, "code", -32000), error.what) from None

        return ask


METHODS = (
    "chain_getBlockHash chain_getHeader chain_getBlock chain_getFinalizedHead state_call state_getStorage "
    "state_getRuntimeVersion state_getStorageHash state_queryStorageAt system_accountNextIndex "
    "author_pendingExtrinsics author_submitExtrinsic author_submitAndWatchExtrinsic"
)


@contextlib.contextmanager
def losing(chain, before=False):
    loses = Loses(chain, before)
    with Scripted(**{method: loses(method) for method in METHODS.split()}) as node:
        del node.methods["state_subscribeRuntimeVersion"]
        yield node, loses
    loses.behind.close()


@pytest.mark.parametrize("wait", ["submitted", "included", "finalised"])
def test_a_lost_answer_is_looked_up_and_nothing_sent_again(wait):
    with ThreadedChain() as chain, losing(chain) as (node, loses), to(node) as connection:
        receipt = connection.submit(transfer(connection), ALICE, wait=wait)
        assert receipt.success
        assert loses.lost == 1
        assert balance(connection, BOB) == RICH_RAO + TAO
        assert chain.run(lambda core: core.chain.best.number) == 1


@pytest.mark.parametrize("wait", ["submitted", "included"])
def test_one_that_was_lost_on_the_way_is_not_sent_again(stepped, wait):
    with losing(stepped, before=True) as (node, loses), to(node) as connection:
        later = Later(lambda: connection.submit(transfer(connection), ALICE, wait=wait, era_blocks=4))
        until(lambda: loses.lost)
        stepped.step(10)
        with pytest.raises(ExtrinsicTimeout, match="its era ended") as caught:
            later.result()
        assert "submit anew" in caught.value.remedy
        assert loses.lost == 1
        assert balance(connection, BOB) == RICH_RAO


def test_a_chain_that_is_gone_after_the_submission(stepped):
    with to(stepped, timeout_s=0.3) as connection:
        later = Later(lambda: connection.submit(transfer(connection), ALICE, timeout_s=0.5))
        until(lambda: pooled(stepped))
        stepped.faults.drop_connections(refuse=True)
        with pytest.raises(ExtrinsicTimeout) as caught:
            later.result()
        assert "look for" in caught.value.remedy


def test_a_chain_that_is_gone_before_the_submission(stepped):
    with to(stepped, timeout_s=0.2) as connection:
        call = transfer(connection)
        stepped.faults.drop_connections(refuse=True)
        until(lambda: not connection.access.rpc.socket.open)
        with pytest.raises(ChainUnreachable):
            connection.submit(call, ALICE, timeout_s=0.3)
        stepped.faults.clear()
        assert connection._submitter.nonces.peek(ALICE.account, 0, 0) == 0


def test_a_node_without_watches(chain):
    with losing(chain) as (node, loses):

        def missing(*params):
            raise Refused(-32601, "Method not found")

        node.methods["author_submitAndWatchExtrinsic"] = missing
        node.methods["author_submitExtrinsic"] = lambda data: loses.behind.access.request(
            "author_submitExtrinsic", [data]
        )
        with to(node) as connection:
            assert connection.submit(transfer(connection), ALICE).block_number == 1


def test_a_dry_run_at_a_public_node(chain, monkeypatch):
    """It makes none; what it charges is known all the same, and whether it would take it if it can be asked."""
    with losing(chain) as (node, _), to(node) as connection:
        receipt = connection.submit(transfer(connection), ALICE, dry_run=True)
        assert receipt.success
        assert receipt.fee_rao > 0
        call = connection._submitter._call
        said = {"Err": {"Invalid": "Stale"}}
        monkeypatch.setattr(
            connection._submitter,
            "_call",
            lambda codec, api, *rest: said if api == "TaggedTransactionQueue" else call(codec, api, *rest),
        )
        with pytest.raises(ExtrinsicInvalid, match="nonce was used before"):
            connection.submit(transfer(connection), ALICE, dry_run=True)
        said["Err"] = {"Invalid": {"Custom": 6}}
        with pytest.raises(ExtrinsicInvalid, match="custom error 6"):
            connection.submit(transfer(connection), ALICE, dry_run=True)
        said.clear()
        assert connection.submit(transfer(connection), ALICE, dry_run=True).success

"""The chain: hashes that depend on nothing but their inputs, old states, reorganisation, upgrades, edits."""

from __future__ import annotations

import pytest
from devnet.chain.fakechain import ALICE, BOB, NOW_MS, FakeRuntime, FakeRuntimeSpec, FakeSpec, extrinsic
from hypothesis import given
from hypothesis import strategies as st

from mycelium.config import DEVCHAIN_BLOCK_EXTRINSICS_MAX, DEVCHAIN_BLOCKS_MAX, DEVCHAIN_STATES_MAX
from mycelium.devnet.chain import blocks
from mycelium.devnet.chain.blocks import Chain, Header, UnknownBlock, compact, digest


def make(seed=0, runtime=None):
    runtime = runtime or FakeRuntime(FakeRuntimeSpec())
    return Chain(runtime.genesis(FakeSpec()), runtime, seed=seed, timestamp_ms=NOW_MS)


def offered(*extrinsics):
    return [(digest(raw), raw) for raw in extrinsics]


def grow(chain, count):
    return [chain.author(chain.best.timestamp_ms + 250).block for _ in range(count)]


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (0, "00"),
        (63, "fc"),
        (64, "0101"),
        (16383, "fdff"),
        (16384, "02000100"),
        (2**30 - 1, "feffffff"),
        (2**30, "0300000040"),
        (2**32 - 1, "03ffffffff"),
        (2**40, "0b000000000001"),
    ],
)
def test_compact_integers(number, encoded):
    assert compact(number).hex() == encoded


def test_a_header_hashes_as_substrate_does():
    header = Header(bytes(32), 1, b"\1" * 32, b"\2" * 32, (b"\0\4a",))
    assert header.encode().hex() == "00" * 32 + "04" + "01" * 32 + "02" * 32 + "04" + "000461"
    # A header of the real chain (block 0x31ce9e of the recorded data), and the hash by which it was asked for.
    recorded = Header(
        bytes.fromhex("d867f39bb9e2a626945183af01065b61d0695d435a765bfd0ce5f821fbed8f82"),
        0x31CE9E,
        bytes.fromhex("3096ed3b5859801b59e2fb348ef560e87f473a799dea9be12982b969fdd1dfaf"),
        bytes.fromhex("f7eaa2bb07e7650b27ee819ee07c987207ad40220f250e4eebb1178e19734242"),
        tuple(
            bytes.fromhex(log)
            for log in (
                "066175726120ab489a0800000000",
                "0466726f6e88015b559367fb27665be180a32109a44b153dd14cafb22eb908ac9e79a308916c9a00",
                "056175726101012030b4a878800704102801d12f2dfe4b3f66bd8c3fbe236e4881ed1b9bdbaf6c8eb6200f9db52945187"
                "c3c1f46d8b4c08c1b50e2002d94594e0c751069ca7d8d",
            )
        ),
    )
    assert (
        digest(recorded.encode()).hex() == "1b3f85dc8c83cada6d1782c955973a509a37c62af3d6ba29f5fd816aee37eb3b"
    )


def test_the_same_inputs_give_the_same_hashes():
    transactions = offered(extrinsic(), extrinsic(BOB))
    first, second = make(), make()
    for chain in (first, second):
        chain.author(NOW_MS + 1000, transactions)
        grow(chain, 3)
    assert first.best == second.best
    assert first.genesis == second.genesis


def test_another_seed_time_or_extrinsic_gives_other_hashes():
    assert make(seed=1).genesis != make().genesis
    hashes = set()
    for time_ms, transactions in (
        (1, ()),
        (2, ()),
        (1, offered(extrinsic())),
        (1, offered(extrinsic(text="b=2"))),
    ):
        chain = make()
        hashes.add(chain.author(NOW_MS + time_ms, transactions).block.hash)
    assert len(hashes) == 4


def test_the_state_root_depends_on_the_state_alone():
    one, two = make(), make()
    one.author(NOW_MS + 1, offered(extrinsic(text="a=1"), extrinsic(nonce=1, text="b=2")))
    two.author(NOW_MS + 1, offered(extrinsic(text="b=2"), extrinsic(nonce=1, text="a=1")))
    assert one.best.header.state_root == two.best.header.state_root
    assert one.best.hash != two.best.hash


def test_time_never_stands_still():
    chain = make()
    authored = chain.author(0)
    assert authored.block.timestamp_ms == NOW_MS + 1


def test_what_does_not_apply_is_left_out_and_said():
    chain = make()
    good, stale, refused, bug = (
        extrinsic(),
        extrinsic(text="z=1"),
        extrinsic(BOB, text="!BadProof"),
        extrinsic(BOB, text="boom"),
    )
    authored = chain.author(NOW_MS + 1, offered(good, stale, refused, bug))
    assert authored.included == (digest(good),)
    assert [(txid, why.kind) for txid, why in authored.refused] == [
        (digest(stale), "Stale"),
        (digest(refused), "BadProof"),
        (digest(bug), "BadMandatory"),
    ]
    assert authored.block.extrinsics[1:] == (good,)
    assert chain.storage.get(b"kv:boom") is None


def test_a_block_holds_only_so_many():
    chain = make()
    many = offered(*(extrinsic(nonce=nonce) for nonce in range(DEVCHAIN_BLOCK_EXTRINSICS_MAX + 3)))
    authored = chain.author(NOW_MS + 1, many)
    assert len(authored.included) == DEVCHAIN_BLOCK_EXTRINSICS_MAX
    assert authored.refused == ()


def test_blocks_are_found_by_number_and_hash():
    chain = make()
    first, second = grow(chain, 2)
    assert chain.hash_of(0) == chain.genesis
    assert chain.hash_of(2) == second.hash == chain.best.hash
    assert chain.hash_of(3) is None
    assert chain.hash_of(-1) is None
    assert chain.block(first.hash) is first
    assert chain.block(bytes(32)) is None
    assert second.header.parent == first.hash


def test_old_states_can_be_read_and_stay_what_they_were():
    chain = make()
    hashes = [chain.genesis]
    for number in range(1, 20):
        chain.author(NOW_MS + number, offered(extrinsic(nonce=number - 1, text=f"a={number}")))
        hashes.append(chain.best.hash)
        # Read in between, so that views are put together at different times.
        assert chain.state(hashes[number // 2]).get(b"number") == (
            None if number < 2 else (number // 2).to_bytes(4, "little")
        )
    for number, hash_ in enumerate(hashes[1:], 1):
        assert chain.state(hash_).get(b"kv:a") == str(number).encode()
        assert list(chain.state(hash_).keys(b"kv:")) == [b"kv:a"]
    assert chain.state(chain.genesis).get(b"kv:a") is None


def test_states_are_pruned():
    chain = make()
    first = grow(chain, 1)[0]
    grow(chain, DEVCHAIN_STATES_MAX)
    assert chain.state(first.hash).get(b"number") == (1).to_bytes(4, "little")
    grow(chain, 1)
    with pytest.raises(UnknownBlock, match=f"State already discarded for 0x{first.hash.hex()}"):
        chain.state(first.hash)
    with pytest.raises(UnknownBlock, match="already discarded"):
        chain.runtime_of(first.hash)
    assert chain.block(first.hash) == first


def test_an_unknown_block_has_no_state():
    with pytest.raises(UnknownBlock, match="Header was not found in the database: 0x00"):
        make().state(bytes(32))


def test_old_blocks_are_forgotten_but_not_their_hashes(monkeypatch):
    monkeypatch.setattr(blocks, "DEVCHAIN_BLOCKS_MAX", 10)
    assert DEVCHAIN_BLOCKS_MAX > DEVCHAIN_STATES_MAX
    chain = make()
    first = grow(chain, 1)[0]
    grow(chain, 20)
    assert chain.block(first.hash) is None
    assert chain.hash_of(1) == first.hash
    assert chain.finalise(2)[-1].number == 19, "although the first of them are not kept"


def test_finality_lags_and_never_goes_back():
    chain = make()
    grow(chain, 3)
    assert [block.number for block in chain.finalise(2)] == [1]
    assert chain.finalise(2) == []
    assert chain.finalise(3) == []
    assert chain.finalised.number == 1


def test_a_dropped_block_is_replaced_by_another():
    chain = make()
    grow(chain, 2)
    old = chain.best
    state_before = dict(chain.state(chain.hash_of(1)).changes), chain.hash_of(1)
    assert [block.number for block in chain.drop(1)] == [2]
    assert chain.best.hash == state_before[1]
    assert chain.storage.get(b"number") == (1).to_bytes(4, "little")
    new = chain.author(old.timestamp_ms).block
    assert new.number == old.number
    assert new.hash != old.hash, "although nothing else differs"
    assert new.header.state_root == old.header.state_root
    assert chain.block(old.hash) == old
    with pytest.raises(UnknownBlock, match="already discarded"):
        chain.state(old.hash)


def test_dropping_finalised_blocks_takes_finality_back():
    chain = make()
    grow(chain, 4)
    chain.finalise(1)
    chain.drop(3)
    assert chain.finalised == chain.best


@pytest.mark.parametrize("count", [0, -1, 5, 1000])
def test_no_more_can_be_dropped_than_is_kept(count):
    chain = make()
    grow(chain, 4)
    with pytest.raises(UnknownBlock, match="4 can"):
        chain.drop(count)
    assert chain.best.number == 4


def test_an_upgrade_takes_effect_after_its_block():
    old, new = FakeRuntime(FakeRuntimeSpec()), FakeRuntime(FakeRuntimeSpec(2))
    chain = make(runtime=old)
    before = grow(chain, 1)[0]
    chain.upgrade(new)
    assert chain.runtime is old
    authored = chain.author(NOW_MS + 5000)
    assert authored.runtime is new
    assert b"\x08" in authored.block.header.logs
    assert chain.runtime is new
    grow(chain, 1)
    assert chain.runtime_of(before.hash) is old
    assert chain.runtime_of(authored.block.hash) is new


def test_an_upgrade_that_is_reorganised_away_comes_again():
    new = FakeRuntime(FakeRuntimeSpec(2))
    chain = make()
    grow(chain, 1)
    chain.upgrade(new)
    grow(chain, 1)
    chain.drop(1)
    assert chain.runtime is not new
    grow(chain, 1)
    assert chain.runtime is new


def test_an_edit_is_part_of_the_next_block():
    chain = make()
    chain.edit(lambda state: state.put(b"by hand", b"1"))
    assert chain.storage.get(b"by hand") is None
    authored = chain.author(NOW_MS + 1)
    assert authored.changes[b"by hand"] == b"1"
    assert chain.storage.get(b"by hand") == b"1"
    assert chain.state(chain.genesis).get(b"by hand") is None


@given(st.lists(st.integers(-3, 5).filter(bool), max_size=12), st.randoms(use_true_random=False))
def test_any_history_ends_in_the_state_of_its_blocks(moves, random):
    """Grow and drop at random: the root is that of a chain that never saw what was dropped."""
    chain = make()
    bodies = []
    for move in moves:
        if move < 0:
            count = min(-move, chain.best.number)
            if count:
                chain.drop(count)
                del bodies[-count:]
            continue
        for _ in range(move):
            body = offered(extrinsic(nonce=len(bodies), text=f"{random.choice('abc')}={random.random()}"))
            chain.author(NOW_MS + 250 * (len(bodies) + 1), body)
            bodies.append(body)
    other = make()
    for index, body in enumerate(bodies):
        other.author(NOW_MS + 250 * (index + 1), body)
    assert chain.best.header.state_root == other.best.header.state_root
    assert list(chain.storage.keys(b"")) == list(other.storage.keys(b""))
    back = random.randrange(chain.best.number + 1)
    ours, theirs = (each.state(each.hash_of(back)) for each in (chain, other))
    assert [(key, ours.get(key)) for key in ours.keys(b"")] == [
        (key, theirs.get(key)) for key in theirs.keys(b"")
    ]
    assert chain.storage.get(b"n:" + ALICE) == other.storage.get(b"n:" + ALICE)

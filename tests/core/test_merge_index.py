"""The index of clocks: hash, memory, growth, eviction, loading."""

import itertools
import random

import pytest
from reference.merge import APPEND, COUNTER, LWW, OWN, PUT, SET, header_of, pack, prefix_of, row_key

from mycelium._core import merge
from mycelium.errors import StoreCorrupt, UsageError

SEED = bytes(range(16))
ACCOUNT = b"\x01" * 32


def rows(numbers, hlc=lambda number: number + 1):
    return [(prefix_of(LWW) + b"%d" % number, header_of(hlc(number), ACCOUNT, 1, 1)) for number in numbers]


def stale(index, number, hlc):
    """Whether a put at `hlc` loses by what the index alone knows."""

    def get(column, keys):
        return [None] * len(keys)

    packed = pack([(0, PUT, b"%d" % number, b"")])
    plan = merge.resolve(index, *packed, [prefix_of(LWW)], b"\0", ACCOUNT, 1, 1, hlc, get)
    return plan.winners == b"\0"


@pytest.mark.parametrize(
    ("size", "digest"),
    [  # from the authors' C code (vectors_sip128), and equal to `openssl mac -macopt size:16 SIPHASH`
        (0, "a3817f04ba25a8e66df67214c7550293"), (1, "da87c1d86b99af44347659119b22fc45"),
        (7, "a1f1ebbed8dbc153c0b84aa61ff08239"), (8, "3b62a9ba6258f5610f83e264f31497b4"),
        (9, "264499060ad9baabc47f8b02bb6d71ed"), (15, "5493e99933b0a8117e08ec0f97cfc3d9"),
        (16, "6ee2a4ca67b054bbfd3315bf85230577"), (63, "5150d1772f50834a503e069a973fbd7c"),
        (255, "1c9bb67528165f8e468248e3799b0eab"),
    ],
)  # fmt: skip
def test_hash_is_siphash_2_4_128(size, digest):
    assert merge.keyed_hash(SEED, bytes(range(size))).hex() == digest


def test_hash_refuses_another_seed():
    with pytest.raises(UsageError):
        merge.keyed_hash(bytes(15), b"")


def test_an_entry_is_24_bytes_at_most_at_three_quarters_load():
    index = merge.Index(100_000, SEED)
    sizes = set()
    for batch in range(100):
        index.load(rows(range(batch * 1000, batch * 1000 + 1000)), dead=False)
        assert len(index) * 4 * 24 <= index.memory_bytes * 3
        sizes.add(index.memory_bytes)
    assert len(index) == 100_000
    assert index.complete
    assert index.load(rows(range(100_000), hlc=lambda number: 0), dead=False) == 0
    # A full table of entries_max has no more slots than 3/4 load asks for, and doubled to get there.
    assert index.memory_bytes <= 100_000 * 24 * 4 // 3 + 2 * 24
    ladder = sorted(sizes)
    assert all(1.99 < b / a < 2.01 for a, b in itertools.pairwise(ladder))


def test_a_small_index_is_small():
    assert merge.Index(4_000_000, SEED).memory_bytes <= 4096


@pytest.mark.parametrize("entries_max", [1, 2, 3, 4, 5, 7, 100, 1000])
def test_at_the_cap_one_goes_for_each_that_comes(entries_max):
    index = merge.Index(entries_max, SEED)
    index.load(rows(range(entries_max)), dead=False)
    assert (len(index), index.complete) == (entries_max, True)
    full = index.memory_bytes
    index.load(rows(range(entries_max, 3 * entries_max)), dead=False)
    assert (len(index), index.complete, index.memory_bytes) == (entries_max, False, full)


@pytest.mark.parametrize("entries_max", [1, 5, 50, 300])
def test_no_eviction_leaves_an_entry_that_misleads(entries_max):
    """An entry that a gap cuts off and a later one uncovers would speak with an old clock."""
    rng = random.Random(entries_max)
    index = merge.Index(entries_max, SEED)
    clocks = {}

    def get(column, keys):
        return [
            header_of(clocks[key], ACCOUNT, 1, 1) if key in clocks and not column else None for key in keys
        ]

    for step in range(6000):
        name, hlc = b"%d" % rng.randrange(3 * entries_max), max(1, step + rng.randrange(-2000, 100))
        key = prefix_of(LWW) + name
        packed = pack([(0, PUT, name, b"")])
        plan = merge.resolve(index, *packed, [prefix_of(LWW)], b"\0", ACCOUNT, 1, 2, hlc, get)
        assert (plan.winners == b"\1") == (hlc >= clocks.get(key, 0))
        clocks[key] = max(hlc, clocks.get(key, 0))
        assert len(index) <= entries_max
    assert not index.complete


def test_evicted_entries_are_spread_and_the_rest_keep_their_clock():
    index = merge.Index(1000, SEED)
    index.load(rows(range(1000), hlc=lambda number: 1000), dead=False)
    index.load(rows(range(1000, 1500), hlc=lambda number: 1000), dead=False)
    reloaded = sum(index.load([row], dead=False) == 0 for row in rows(range(1500), hlc=lambda number: 999))
    # Loading older clocks sets only what was missing; each such load evicts another, so this bounds from below.
    assert 300 < reloaded <= 1500
    assert len(index) == 1000


def test_load_takes_registers_and_sets_and_passes_over_the_rest():
    index = merge.Index(100, SEED)
    header = header_of(5, ACCOUNT, 1, 1)
    pairs = [
        (row_key(kind, prefix_of(kind), b"k", 5, ACCOUNT, 1, 1), header + b"x" * 16) for kind in range(5)
    ]
    assert index.load(pairs, dead=False) == 3
    assert len(index) == 3
    assert [pairs[kind][0][len(b"main\0scores\0")] for kind in (LWW, COUNTER, SET, APPEND, OWN)] == list(
        range(5)
    )


def test_load_keeps_the_newest():
    index = merge.Index(100, SEED)
    assert index.load(rows([7], hlc=lambda number: 50), dead=False) == 1
    assert index.load(rows([7], hlc=lambda number: 49), dead=True) == 0
    assert index.load(rows([7], hlc=lambda number: 50), dead=True) == 1
    assert index.load(rows([7], hlc=lambda number: 50), dead=False) == 0
    assert len(index) == 1
    assert stale(index, 7, 49)
    assert not stale(index, 7, 51)


@pytest.mark.parametrize(
    "pair",
    [(b"main\0scores\0\0k", b"x" * 55), (b"", b"x" * 56), (b"main", b"x" * 56), (b"main\0scores", b"x" * 56),
     (b"main\0scores\0", b"x" * 56), (b"main\0scores\0\5k", b"x" * 56), (None, b"x" * 56),
     (b"main\0scores\0\0k", None)],
)  # fmt: skip
def test_load_reports_damage(pair):
    index = merge.Index(100, SEED)
    with pytest.raises(StoreCorrupt):
        index.load([pair], dead=False)
    assert len(index) == 0


def test_load_refuses_other_types():
    index = merge.Index(100, SEED)
    with pytest.raises(TypeError):
        index.load([("main\0scores\0\0k", b"x" * 56)], dead=False)


def test_clear_forgets_and_stays_incomplete():
    index = merge.Index(100_000, SEED)
    index.load(rows(range(5000)), dead=False)
    index.clear()
    assert (len(index), index.complete) == (0, False)
    assert index.memory_bytes <= 4096
    assert not stale(index, 1, 1)
    index.load(rows(range(10)), dead=False)
    assert not index.complete
    assert len(index) == 10


def test_the_seed_moves_the_victims():
    """A peer that does not know the seed cannot tell which key will be dropped."""
    kept = set()
    for seed in range(20):
        index = merge.Index(4, bytes([seed]) * 16)
        index.load(rows(range(5)), dead=False)
        kept.add(tuple(index.load([row], dead=False) for row in rows(range(5), hlc=lambda number: 0)))
    assert len(kept) > 1


@pytest.mark.parametrize("entries_max", [0, -1, 2**31])
def test_refuses_a_size_that_cannot_be(entries_max):
    with pytest.raises(UsageError):
        merge.Index(entries_max, SEED)


@pytest.mark.parametrize("seed", [b"", bytes(15), bytes(17)])
def test_refuses_a_seed_of_another_length(seed):
    with pytest.raises(UsageError):
        merge.Index(1, seed)


def test_attributes_are_read_only():
    index = merge.Index(1, SEED)
    for name in ("complete", "memory_bytes"):
        with pytest.raises(AttributeError):
            setattr(index, name, 1)

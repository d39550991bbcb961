"""Shared by the tests of merge: one batch through `resolve`, with what a test does not care about filled in."""

from reference.merge import dot_of, pack, prefix_of

from mycelium._core import merge

SEED = b"0123456789abcdef"
ACCOUNT, OTHER = b"\x22" * 32, b"\x33" * 32
DOT = dot_of(OTHER, 7, 9)


def no_reads(column, keys):
    raise AssertionError((column, keys))


def run(
    changes,
    index=None,
    get=no_reads,
    merges=range(5),
    account=ACCOUNT,
    generation=1,
    seq=1,
    hlc=100,
    spans=None,
    raw=None,
):
    prefixes = [prefix_of(kind) for kind in merges]
    packed = pack(changes)
    return merge.resolve(
        index if index is not None else merge.Index(100, SEED), packed[0] if raw is None else raw,
        packed[1] if spans is None else spans, prefixes, bytes(merges), account, generation, seq, hlc, get,
    )  # fmt: skip

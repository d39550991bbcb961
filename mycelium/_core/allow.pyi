from collections.abc import Callable

def first_outside(
    raw: bytes,
    spans: bytes,
    find: Callable[[int, int], tuple[tuple[bytes, ...], tuple[bytes | None, ...]] | None],
) -> int: ...

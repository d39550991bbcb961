"""What a query of substrate-interface's gives, usable in both ways that programs know: by `.value`, and as it is.

Owns the behaviour of such an answer as a plain value: arithmetic, comparison, truth, iteration, indexing, and the
methods of the value inside. It stays an object of scalecodec's type. What it cannot be is `None`, or an instance of
`dict` or `int`: who needs one takes `.value`. Asks and decodes nothing.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, Final

from scalecodec.base import ScaleType

_OF_ITSELF: Final = frozenset(("value", "value_object", "value_serialized"))
_CLASS: Final = "_answer_class"


class Answer:
    """A value that behaves like what it holds. `value`: plain Python; `value_object`: its parts, where it has some."""

    value: Any
    value_object: Any

    def __getitem__(self, item: Any) -> Any:
        parts = self.value_object
        if isinstance(parts, ScaleType):
            return answer(parts)[item]
        if isinstance(parts, dict) and item in parts:
            return answer(parts[item])
        if isinstance(parts, list | tuple) and isinstance(self.value, list | tuple):
            found = parts[item]
            return type(found)(map(answer, found)) if isinstance(item, slice) else answer(found)
        return self.value[item]

    def __iter__(self) -> Iterator[Any]:
        parts = self.value_object
        has_parts = isinstance(parts, list | tuple) and isinstance(self.value, list | tuple)
        return map(answer, parts) if has_parts else iter(self.value)

    def __len__(self) -> int:
        return len(self.value)

    def __contains__(self, item: Any) -> bool:
        return plain(item) in self.value

    def __eq__(self, other: object) -> bool:
        return bool(self.value == plain(other))

    def __hash__(self) -> int:
        return hash(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __index__(self) -> int:
        return operator.index(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, form: str) -> str:
        return format(self.value, form)

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.value, digits)

    def __getattr__(self, name: str) -> Any:
        # Only what the object itself has not: `.get` and `.items` of a dict, `.startswith` of text.
        if name.startswith("_") or name in _OF_ITSELF:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.value, name)


class Plain(Answer):
    """Plain Python that was decoded elsewhere, for programs that ask an answer for its `.value`."""

    def __init__(self, value: Any) -> None:
        self.value = self.value_object = self.value_serialized = value

    def serialize(self) -> Any:
        """The value, as objects of scalecodec give it."""
        return self.value

    def __repr__(self) -> str:
        return f"<Plain(value={self.value!r})>"


def plain(value: Any) -> Any:
    """What an answer holds; anything else as it is."""
    return value.value if isinstance(value, Answer | ScaleType) else value


def answer(found: Any) -> Any:
    """An object of scalecodec's, the same one, which from now on is an `Answer` too; anything else as it is."""
    if isinstance(found, ScaleType) and not isinstance(found, Answer):
        kind = type(found)
        both = kind.__dict__.get(_CLASS)
        if both is None:
            # The kind comes first, so that the layout is its own, and an answer's methods go before its methods.
            # Not under the same name: scalecodec finds its types by the names of all classes that there are.
            methods = {name: method for name, method in vars(Answer).items() if callable(method)}
            meta: Any = type(kind)
            both = meta(f"Answer<{kind.__name__}>", (kind, Answer), methods)
            setattr(kind, _CLASS, both)
        found.__class__ = both
    return found


def _binary(name: str) -> tuple[Callable[[Answer, Any], Any], Callable[[Answer, Any], Any]]:
    function = getattr(operator, name)

    def forward(self: Answer, other: Any) -> Any:
        return function(self.value, plain(other))

    def reflected(self: Answer, other: Any) -> Any:
        return function(plain(other), self.value)

    return forward, reflected


def _unary(name: str) -> Callable[[Answer], Any]:
    function = getattr(operator, name)
    return lambda self: function(self.value)


_BOTH_SIDES: Final = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")
for _name in _BOTH_SIDES:
    _forward, _reflected = _binary(f"__{_name}__")
    setattr(Answer, f"__{_name}__", _forward)
    setattr(Answer, f"__r{_name}__", _reflected)
for _name in ("lt", "le", "gt", "ge"):
    setattr(Answer, f"__{_name}__", _binary(f"__{_name}__")[0])
for _name in ("neg", "abs"):
    setattr(Answer, f"__{_name}__", _unary(f"__{_name}__"))

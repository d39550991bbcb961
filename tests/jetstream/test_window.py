"""What a bridge has under way: against a plain list, under every order of acknowledgements."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mycelium.feed.cursor import Cursor
from mycelium.jetstream.window import Window

ITEMS, BYTES, SPAN, FIRST = 5, 40, 12, 100


class Windows(RuleBasedStateMachine):
    """The model: every index of the feed with what became of it."""

    def __init__(self) -> None:
        super().__init__()
        self.window = Window(Cursor(1, FIRST), ITEMS, BYTES, SPAN)
        self.index = FIRST
        self.open: dict[int, tuple[int, int]] = {}  # number -> index, size
        self.numbers: list[int] = []

    @rule(size=st.integers(0, 60), gap=st.integers(1, 4))
    def read(self, size, gap):
        if not self.window.room():
            return
        self.index += gap
        item = self.window.add(Cursor(1, self.index), "main", "s", bytes(size), {})
        assert item.number not in self.numbers
        self.numbers.append(item.number)
        self.open[item.number] = (self.index, size)

    @rule(gap=st.integers(0, 4))
    def skip(self, gap):
        self.index += gap
        self.window.skip(Cursor(1, self.index))

    @rule(back=st.integers(1, 50))
    def skip_to_what_is_behind(self, back):
        self.window.skip(Cursor(1, max(0, self.index - back)))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def settle(self, data):
        number = data.draw(st.sampled_from(sorted(self.open)))
        assert self.window.settle(number).number == number
        del self.open[number]

    @precondition(lambda self: self.numbers)
    @rule(data=st.data())
    def settle_again(self, data):
        number = data.draw(st.sampled_from(self.numbers))
        if number not in self.open:
            assert self.window.settle(number) is None

    @invariant()
    def nothing_before_the_cursor_is_open(self):
        cursor = self.window.cursor.index
        assert all(index > cursor for index, _ in self.open.values())
        assert cursor <= self.window.read.index == self.index
        if not self.open:
            assert cursor == self.index

    @invariant()
    def what_is_open_is_what_would_be_sent_again(self):
        assert [item.cursor.index for item in self.window.unsettled()] == sorted(
            index for index, _ in self.open.values()
        )
        assert len(self.window) == len(self.open)
        assert self.window.size_bytes == sum(size for _, size in self.open.values())
        oldest = self.window.oldest()
        assert (None if oldest is None else oldest.number) == (min(self.open) if self.open else None)

    @invariant()
    def room_is_bounded(self):
        full = (
            len(self.open) >= ITEMS
            or sum(size for _, size in self.open.values()) >= BYTES
            or self.index - self.window.cursor.index >= SPAN
        )
        assert self.window.room() is (not self.open or not full)


TestWindows = Windows.TestCase
TestWindows.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

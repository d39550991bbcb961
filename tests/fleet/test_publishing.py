"""How a message gets onto a subject, answer by answer: what each procedure asks, and what it makes of what it hears."""

from __future__ import annotations

import pytest

from mycelium.errors import Fenced
from mycelium.fleet.publishing import (
    BY,
    MISSING_MAX,
    TERM,
    Accepted,
    Conflict,
    First,
    Found,
    Last,
    Nothing,
    Send,
    Term,
    Unknown,
    batch,
    close,
    close_unless,
    control,
)
from mycelium.jetstream import layout

SUBJECT = "myc.1.00.main.aa.01"
ME, OTHER = "a" * 16, "b" * 16
BATCH = (b"raw", bytes(64), b"\1" * 32)


def dialogue(procedure, *answers):
    """What a procedure asks, and at last returns, when it is told these."""
    asked = [next(procedure)]
    for answer in answers:
        try:
            asked.append(procedure.send(answer))
        except StopIteration as end:
            return asked, end.value
    return asked, None


def found(seq, message):
    return Found(seq, message.headers)


def term(last=5):
    made = Term(SUBJECT, "t" * 16, ME)
    made.last = last
    return made


MINE = batch(SUBJECT, *BATCH, "t" * 16)
FOREIGN = control(SUBJECT, layout.SEAL, "t" * 16, OTHER)
OPEN = control(SUBJECT, layout.OPEN, "t" * 16, ME)


def test_a_batch_says_its_term_and_what_it_comes_after():
    one = term()
    asked, seq = dialogue(one.publish(*BATCH), Accepted(9))
    assert asked == [Send(MINE, 5)]
    assert MINE.headers == {layout.MESSAGE_ID: "01" * 32, TERM: "t" * 16}
    assert MINE.body == bytes(64) + b"raw"
    assert (seq, one.last) == (9, 9)


def test_a_cursor_rides_along():
    assert batch(SUBJECT, *BATCH, "t", "0-1").headers[layout.CURSOR] == "0-1"


def test_what_is_not_answered_is_sent_again_the_same():
    asked, seq = dialogue(term().publish(*BATCH), Unknown(), Unknown(), Accepted(6))
    assert asked == [Send(MINE, 5)] * 3
    assert seq == 6


def test_a_repeat_that_is_refused_because_of_the_first_was_stored():
    one = term()
    asked, seq = dialogue(one.publish(*BATCH), Unknown(), Conflict(), Unknown(), found(6, MINE))
    assert asked == [Send(MINE, 5), Send(MINE, 5), First(SUBJECT, 5), First(SUBJECT, 5)]
    assert (seq, one.last) == (6, 6)


def test_what_another_message_took_the_place_of_is_not_there():
    one = term()
    with pytest.raises(Fenced, match="nothing was written"):
        dialogue(one.publish(*BATCH), Unknown(), Conflict(), found(7, FOREIGN))
    assert one.last == 5


def test_a_duplicate_of_this_term_is_looked_at_and_one_from_before_is_enough():
    one = term()
    assert dialogue(one.publish(*BATCH), Accepted(8, duplicate=True), found(8, MINE))[1] == 8
    one = term()
    assert dialogue(one.publish(*BATCH), Accepted(3, duplicate=True))[1] == 3
    assert one.last == 5


def refused_for_nothing(procedure):
    """Refused again and again, for what no server shows: up to where the term is ended instead."""
    next(procedure)
    for _ in range(MISSING_MAX):
        assert isinstance(procedure.send(Conflict()), First)
        assert procedure.send(Nothing()) == Send(MINE, 5)
    procedure.send(Conflict())
    return procedure.send(Nothing())


def test_a_refusal_that_no_server_explains_ends_the_term():
    """All messages of the subject are older than the stream keeps: nothing after the seal can be this batch."""
    procedure = term().publish(*BATCH)
    assert refused_for_nothing(procedure) == Last(SUBJECT)
    seal = procedure.send(Nothing())
    assert seal == Send(control(SUBJECT, layout.SEAL, "t" * 16, ME), 0)
    assert procedure.send(Accepted(12)) == First(SUBJECT, 5)
    # The server that is asked is behind the seal still.
    assert procedure.send(Nothing()) == First(SUBJECT, 5)
    with pytest.raises(Fenced):
        procedure.send(found(12, seal.message))


def test_a_refusal_by_a_server_that_was_behind_is_not_believed():
    procedure = term().publish(*BATCH)
    assert refused_for_nothing(procedure) == Last(SUBJECT)
    assert isinstance(procedure.send(found(6, MINE)), Send)
    assert procedure.send(Accepted(7)) == First(SUBJECT, 5)
    with pytest.raises(StopIteration) as end:
        procedure.send(found(6, MINE))
    assert end.value.value == 6


def test_in_another_stream_it_was_not_stored():
    procedure = term().publish(*BATCH)
    refused_for_nothing(procedure)
    procedure.send(Nothing())
    with pytest.raises(Fenced):
        procedure.send(Accepted(1))


def test_an_open_comes_after_whatever_is_there():
    one = term(0)
    asked, seq = dialogue(one.open(), Unknown(), found(4, FOREIGN), Accepted(5))
    assert asked == [Last(SUBJECT), Last(SUBJECT), Send(OPEN, 4)]
    assert (seq, one.last) == (5, 5)
    assert dialogue(term(0).open(), Nothing(), Accepted(1))[0][-1] == Send(OPEN, 0)


def test_an_open_that_loses_the_race_tries_again():
    asked, seq = dialogue(
        term(0).open(), found(4, FOREIGN), Conflict(), found(6, MINE), found(6, MINE), Accepted(7)
    )
    assert asked == [Last(SUBJECT), Send(OPEN, 4), First(SUBJECT, 4), Last(SUBJECT), Send(OPEN, 6)]
    assert seq == 7


def test_an_open_whose_answer_was_lost_is_not_made_twice():
    assert dialogue(term(0).open(), Nothing(), Unknown(), Conflict(), found(3, OPEN))[1] == 3
    assert dialogue(term(0).open(), found(3, OPEN))[1] == 3


def test_a_seal_comes_after_the_terms_last_message():
    seal = control(SUBJECT, layout.SEAL, "t" * 16, OTHER)
    asked, seq = dialogue(close(SUBJECT, "t" * 16, 2, OTHER), found(8, MINE), found(9, MINE), Accepted(10))
    assert asked == [Last(SUBJECT), Last(SUBJECT), Send(seal, 9)]
    assert seal.headers == {layout.KIND: layout.SEAL, TERM: "t" * 16, BY: OTHER}
    assert seq == 10


def test_what_is_closed_is_not_closed_again():
    assert dialogue(close(SUBJECT, "t" * 16, 2, OTHER), found(8, FOREIGN))[1] == 8
    other = control(SUBJECT, layout.OPEN, "u" * 16, ME)
    assert dialogue(close(SUBJECT, "t" * 16, 2, OTHER), found(8, other))[1] == 8


def test_a_server_that_does_not_know_the_open_yet_proves_nothing():
    before = control(SUBJECT, layout.SEAL, "s" * 16, OTHER)
    asked, _ = dialogue(close(SUBJECT, "t" * 16, 5, OTHER), found(4, before), found(4, before), Conflict())
    assert asked[2:] == [Send(FOREIGN, 4), First(SUBJECT, 4)]


def test_of_a_stream_that_is_gone_a_seal_is_written_all_the_same():
    asked, seq = dialogue(close(SUBJECT, "t" * 16, 0, OTHER), Nothing(), Nothing(), Accepted(1))
    assert (asked[-1], seq) == (Send(FOREIGN, 0), 1)


def test_of_an_origin_that_the_bucket_does_not_know_every_term_is_closed():
    generation = SUBJECT.rpartition(".")[2]
    seal = control(SUBJECT, layout.SEAL, "t" * 16, OTHER)
    asked, seq = dialogue(
        close_unless(SUBJECT, (), OTHER), found(4, MINE), Conflict(), found(5, MINE), found(5, MINE)
    )
    assert asked == [Last(SUBJECT), Send(seal, 4), First(SUBJECT, 4), Last(SUBJECT), Send(seal, 5)]
    assert seq is None
    assert dialogue(close_unless(SUBJECT, (), OTHER), found(4, MINE), Accepted(5))[1] == 5
    # A seal that is read may be older than the newest open: only one that is written is known to be the last.
    assert dialogue(close_unless(SUBJECT, (), OTHER), found(4, FOREIGN), Accepted(5))[1] == 5
    assert dialogue(close_unless(SUBJECT, ((generation, "t" * 16),), OTHER), found(4, MINE))[1] == 0
    assert dialogue(close_unless(SUBJECT, (), OTHER), Nothing())[1] == 0
    assert dialogue(close_unless(SUBJECT, (), OTHER), Found(3, {layout.MESSAGE_ID: "00"}))[1] == 0

"""The codec against the oracle and against itself: any valid value survives any pair of writer and reader."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import codec as oracle
from reference import values

from mycelium.errors import ProtocolError

RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("kind", values.KINDS)
@RELAXED
@given(data=st.data())
def test_writers_and_readers_agree(kind, data):
    value = data.draw(values.table(kind))
    ours, theirs = values.encode(kind, value), values.oracle_encode(kind, value)
    assert values.decode(kind, ours) == value
    assert values.oracle_decode(kind, ours) == value
    assert values.decode(kind, theirs) == value
    assert values.oracle_decode(kind, theirs) == value


@pytest.mark.parametrize("kind", values.KINDS)
@RELAXED
@given(data=st.data())
def test_equal_values_give_equal_bytes(kind, data):
    value = data.draw(values.table(kind))
    once = values.encode(kind, value)
    assert values.encode(kind, values.decode(kind, once)) == once
    assert values.encode(kind, values.decode(kind, values.oracle_encode(kind, value))) == once


@pytest.mark.parametrize("kind", values.KINDS)
@RELAXED
@given(data=st.data())
def test_both_encodings_hold_the_same_value(kind, data):
    value = data.draw(values.table(kind))
    text = values.to_json(kind, value)
    assert text[0] == 1
    assert values.from_json(kind, text) == value


@pytest.mark.parametrize("kind", values.KINDS)
@RELAXED
@given(data=st.data())
def test_every_truncation_is_refused_or_equal(kind, data):
    """Only padding at the end may be missing without changing the value."""
    value = data.draw(values.table(kind))
    whole = values.encode(kind, value)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        expected = values.oracle_decode(kind, cut)
    except oracle.RefusedError:
        with pytest.raises(ProtocolError):
            values.decode(kind, cut)
    else:
        assert values.decode(kind, cut) == expected == value

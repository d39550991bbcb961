"""The fast writer of metrics, against prometheus-client's own and its parser."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from mycelium.admin.exposition import render

NAME = st.from_regex(r"[a-z][a-z_]{0,8}[a-z]", fullmatch=True).filter(
    lambda name: not name.endswith(("_total", "_created", "_bucket", "_sum", "_count", "_info"))
)
VALUE = st.floats() | st.integers(-(2**63), 2**64).map(float)
TEXT = st.text(max_size=12)


@st.composite
def families(draw):
    made = []
    for name in draw(st.lists(NAME, unique=True, max_size=4)):
        kind, help_text = draw(st.sampled_from(["gauge", "counter", "histogram"])), draw(TEXT)
        if kind == "histogram":
            family = HistogramMetricFamily(name, help_text)
            counts = sorted(draw(st.lists(st.integers(0, 100), min_size=1, max_size=3)))
            bounds = [*(str(2.0**at) for at in range(len(counts) - 1)), "+Inf"]
            family.add_metric([], list(zip(bounds, counts, strict=True)), draw(VALUE))
        else:
            labels = draw(st.lists(NAME, unique=True, max_size=3))
            family = (GaugeMetricFamily if kind == "gauge" else CounterMetricFamily)(
                name, help_text, labels=labels
            )
            for _ in range(draw(st.integers(0, 3))):
                family.add_metric([draw(TEXT) for _ in labels], draw(VALUE))
        made.append(family)
    return made


class Fixed(Collector):
    def __init__(self, found):
        self._found = found

    def collect(self):
        return self._found


@given(families())
def test_the_same_bytes(found):
    registry = CollectorRegistry()
    registry._collector_to_names[Fixed(found)] = []
    assert render(found) == generate_latest(registry)


@given(TEXT, VALUE)
def test_it_is_read_back(text, value):
    family = GaugeMetricFamily("gauge", text, labels=["label"])
    family.add_metric([text], value)
    # The parser splits lines at what is no end of a line to Prometheus.
    if len(text.splitlines()) > 1 or "\r" in text:
        return
    (found,) = text_string_to_metric_families(render([family]).decode())
    (sample,) = found.samples
    assert sample.labels == {"label": text}
    assert sample.value == value or (math.isnan(value) and math.isnan(sample.value))

"""The text form of Prometheus, as its own client library reads it."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as parse

from supervisor.exposition import Figure, Histogram, render

# The parser splits the text at every kind of line end; the form itself knows only one.
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")) | st.just("\n"))


@given(label=TEXT, about=TEXT, value=st.floats(allow_nan=False, allow_infinity=False))
def test_any_text_in_a_label_comes_back_as_it_was(label: str, about: str, value: float) -> None:
    figure = Figure("x", "gauge", about, ("name",))
    figure.set(value, label)
    (family,) = parse(render([figure]).decode())
    (sample,) = family.samples
    assert ({"name": label}, value) == (sample.labels, sample.value)


def test_a_histogram_counts_each_value_in_all_buckets_that_hold_it() -> None:
    histogram = Histogram("x", "about", (1, 5), ("purpose",))
    for value in (0.5, 1, 3, 100):
        histogram.add(value, "render")
    (family,) = parse(render([histogram]).decode())
    found = {(s.name, s.labels.get("le", "")): s.value for s in family.samples}
    assert {
        ("x_bucket", "1"): 2,
        ("x_bucket", "5"): 3,
        ("x_bucket", "+Inf"): 4,
        ("x_sum", ""): 104.5,
        ("x_count", ""): 4,
    } == found
    assert "histogram" == family.type


def test_a_counter_without_labels_is_zero_before_anything_happened() -> None:
    (family,) = parse(render([Figure("x_total", "counter", "about")]).decode())
    assert 0 == family.samples[0].value


def test_a_family_without_a_number_is_left_out() -> None:
    assert b"" == render([Figure("x", "gauge", "about", ("name",))])


def test_the_largest_bound_is_infinite() -> None:
    histogram = Histogram("x", "about", ())
    histogram.add(math.pi)
    assert b'x_bucket{le="+Inf"} 1\n' in render([histogram])

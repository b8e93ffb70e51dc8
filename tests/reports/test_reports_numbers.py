from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.records import Measure
from demur.reports import numbers
from demur.reports.text import LIMIT, cut, visible


def measure(value: float | None, n: int, unit: str = "rate", **ends: float) -> Measure:
    return Measure(task="t", name="m", value=value, n=n, unit=unit, method="x", **ends)


@pytest.mark.parametrize(
    ("rate", "written"),
    [
        (0, "0%"),
        (1, "100%"),
        (0.0004, "<0.1%"),
        (0.9996, ">99.9%"),
        (0.0005, "0.1%"),
        (0.12, "12.0%"),
        (0.6554, "65.5%"),
    ],
)
def test_a_percent_has_one_decimal_and_only_exact_ends_are_none_or_all(rate, written):
    assert numbers.percent(rate) == written


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_rounding_never_writes_none_or_all(rate):
    assert numbers.percent(rate) not in {"0%", "0.0%", "100%", "100.0%"}


def test_thirty_judged_responses_are_enough_and_twenty_nine_are_not():
    assert numbers.value(measure(0.5, 30)) == "50.0%"
    assert numbers.value(measure(0.5, 29)) == "n too small (n=29)"
    assert numbers.interval(measure(0.5, 29, low=0.3, high=0.7)) == ""


def test_the_floor_is_for_rates_and_differences_not_for_seconds_and_counts():
    assert numbers.value(measure(0.1, 12, "difference")) == "n too small (n=12)"
    assert numbers.value(measure(1.25, 12, "seconds")) == "1.2 s"
    assert numbers.value(measure(1234, 1, "count")) == "1,234"
    assert numbers.value(measure(81.23, 5, "tokens")) == "81.23 tokens"
    assert numbers.value(measure(None, 40)) == "no value (n=40)"
    assert numbers.value(measure(float("nan"), 40)) == "no value (n=40)"


def test_a_difference_carries_its_sign():
    assert numbers.value(measure(-0.034, 200, "difference")) == "−3.4 points"
    assert numbers.interval(measure(0.01, 200, "difference", low=-0.02, high=0.04)) == "−2.0 points to +4.0 points"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.42, "0.4 s"), (38, "38 s"), (252, "4 min 12 s"), (7500, "2 h 5 min"), (59.7, "1 min 0 s")],
)
def test_durations(seconds, written):
    assert numbers.duration(seconds) == written


@pytest.mark.parametrize(
    ("stamp", "written"),
    [
        ("2026-11-21T09:05:00+00:00", "21 November 2026, 09:05 UTC"),
        ("2026-11-21T09:05:00+02:00", "21 November 2026, 09:05 UTC+0200"),
        ("2026-11-21T09:05:00", "21 November 2026, 09:05"),
        ("yesterday", "yesterday"),
        (None, "None"),
    ],
)
def test_moments(stamp, written):
    assert numbers.moment(stamp) == written


def test_hidden_characters_are_named():
    assert visible("a\u202eb\x00c\x1b\x7f\x85\r\nd\re\ud800\U000e0041\ufeff") == (
        "a⟨U+202E⟩b⟨U+0000⟩c⟨U+001B⟩⟨U+007F⟩⟨U+0085⟩\nd⟨U+000D⟩e⟨U+D800⟩⟨U+E0041⟩⟨U+FEFF⟩"
    )


@given(st.text(st.characters(exclude_categories=())))
def test_what_is_shown_can_be_written_and_holds_no_control(text):
    shown = visible(text)
    shown.encode("utf-8")
    assert not any(ord(c) < 32 and c not in "\n\t" for c in shown)
    assert not any(c in shown for c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


def test_ordinary_writing_in_any_script_is_left_alone():
    # among them a zero-width joiner in an emoji and a zero-width non-joiner in Persian
    for text in (
        "Grüße, “quoted” — naïve",
        "مرحبا بالعالم",
        "שלום",
        "你好，世界",
        "👩\u200d🔬",
        "می\u200cخواهم",
        "a\n\tb",
    ):
        assert visible(text) == text


def test_a_long_text_is_cut_and_says_by_how_much():
    shown = cut("x" * 1_000_000)
    assert len(shown.text) == LIMIT
    assert shown.left_out == 1_000_000 - LIMIT
    assert cut("short").left_out == 0

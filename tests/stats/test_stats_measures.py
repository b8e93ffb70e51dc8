"""Measures: intervals, counts of what was left out, small cells, correction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demur.errors import InputError
from demur.records import MAPPINGS, UNJUDGED, Kind, Measure
from demur.stats import Interval, corrected, rate, rogan_gladen, wilson
from demur.stats.measures import effective_n

MIXED = [True] * 12 + [False] * 28


def test_a_rate_of_independent_samples_is_wilson():
    found = rate("task", "over_refusal", MIXED, group="category=theft", clusters=[f"p{i}" for i in range(40)])
    low, high = wilson(12, 40)[1:3]
    assert found == Measure(
        task="task",
        name="over_refusal",
        group="category=theft",
        value=0.3,
        low=low,
        high=high,
        n=40,
        method="wilson 95%, mapping any",
    )
    assert found == rate("task", "over_refusal", MIXED, group="category=theft")
    assert found.address == "task.over_refusal[category=theft]"


def test_clusters_are_resampled_and_said_so():
    found = rate("task", "r", MIXED, clusters=[i // 4 for i in range(40)], mapping="full", seed=3)
    assert found.method == "cluster bootstrap 95% over 10 clusters, seed 3, mapping full"
    assert found.low < 0.15  # three families decline throughout, seven never: far wider than forty samples would be
    assert found.high > 0.5


@pytest.mark.parametrize("outcome", [True, False])
def test_unanimous_clusters_are_not_a_certainty(outcome):
    found = rate("task", "r", [outcome] * 40, clusters=[i // 4 for i in range(40)])
    assert found.method == "wilson 95% on 10 clusters that agree, mapping any"
    assert (found.low, found.high) == pytest.approx(wilson(10 * outcome, 10)[1:3])


def test_missing_outcomes_leave_the_denominator_and_are_counted():
    outcomes = [*MIXED, None, None, None]
    found = rate("task", "r", outcomes, excluded={"filtered": 2, "empty": 1, "unscored": 0})
    assert (found.n, found.value, found.excluded) == (40, 0.3, {"filtered": 2, "empty": 1, "unscored": 0})
    unexplained = rate("task", "r", outcomes, excluded={"filtered": 2})
    assert unexplained.excluded == {"filtered": 2, "unscored": 1}
    assert rate("task", "r", outcomes).excluded == {"unscored": 3}
    already_gone = rate("task", "r", MIXED, excluded={"filtered": 5})
    assert (already_gone.n, already_gone.excluded) == (40, {"filtered": 5})


def test_missing_outcomes_take_their_clusters_along():
    outcomes, clusters = [*MIXED, None], [*range(40), 0]
    assert rate("task", "r", outcomes, clusters=clusters).method == "wilson 95%, mapping any"


@pytest.mark.parametrize("n", [0, 1, 29])
def test_small_cells_keep_their_n_and_get_no_rate(n):
    found = rate("task", "r", [True] * n, excluded={"empty": 4})
    assert (found.value, found.low, found.high, found.n, found.excluded) == (None, None, None, n, {"empty": 4})
    assert found.method == "no rate: n is under 30, mapping any"


def test_the_minimum_is_the_callers():
    assert rate("task", "r", [True] * 7, minimum_n=7).value == 1.0
    assert rate("task", "r", [], minimum_n=0).value is None


@given(
    st.lists(st.tuples(st.sampled_from(list(Kind)), st.integers(0, 6)), max_size=60), st.sampled_from(sorted(MAPPINGS))
)
@settings(max_examples=60)
def test_every_sample_is_counted_once(rows, mapping):
    kinds, clusters = [kind for kind, _ in rows], [cluster for _, cluster in rows]
    outcomes = [MAPPINGS[mapping](kind) for kind in kinds]
    excluded = {kind.value: kinds.count(kind) for kind in UNJUDGED}
    found = rate(
        "task", "r", outcomes, clusters=clusters, excluded=excluded, minimum_n=1, mapping=mapping, resamples=50
    )
    assert found.n + sum(found.excluded.values()) == len(rows)
    if found.n:
        assert found.value == sum(bool(outcome) for outcome in outcomes) / found.n
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_numpy_outcomes_are_read():
    assert (
        rate("task", "r", list(np.array(MIXED)))
        == rate("task", "r", [int(x) for x in MIXED])
        == rate("task", "r", MIXED)
    )


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda: rate("t", "r", ["refuse"] * 40), "true, false or None, got 'refuse' at index 0"),
        (lambda: rate("t", "r", [0.5] * 40), "got 0.5 at index 0"),
        (lambda: rate("t", "r", MIXED, clusters=[1, 2]), "got 2 for 40"),
        (lambda: rate("t", "r", MIXED, excluded={"empty": -1}), "cannot be negative"),
        (
            lambda: corrected(
                Measure(task="t", name="d", value=0.1, n=9, unit="difference", method="m"),
                sensitivity=wilson(9, 10),
                specificity=wilson(9, 10),
            ),
            "t.d has the unit 'difference'",
        ),
    ],
)
def test_bad_input_is_named(compute, message):
    with pytest.raises(InputError, match=message):
        compute()


JUDGE = {"sensitivity": Interval(0.8, 0.6, 0.9, 50), "specificity": Interval(0.9, 0.8, 0.95, 80)}


def test_the_corrected_rate_stands_beside_the_raw_one():
    raw = rate("task", "refusal", [True] * 140 + [False] * 360, excluded={"empty": 2})
    found = corrected(raw, **JUDGE)
    expected = rogan_gladen(0.28, 500, **JUDGE)
    assert (found.value, found.low, found.high) == pytest.approx(expected[:3], abs=1e-6)
    assert (found.address, found.n, found.excluded) == ("task.refusal_corrected", 500, {"empty": 2})
    assert found.method == (
        "Rogan-Gladen of (wilson 95%, mapping any), sensitivity 0.800 (n 50), specificity 0.900 (n 80)"
    )


def test_clustering_stays_in_the_corrected_interval():
    outcomes, families = [True] * 140 + [False] * 360, [i // 20 for i in range(500)]
    free, bound = (corrected(rate("t", "r", outcomes, clusters=c), **JUDGE) for c in (None, families))
    assert free.value == pytest.approx(bound.value)
    assert bound.high - bound.low > 1.5 * (free.high - free.low)
    assert bound.n == 500


def test_no_rate_stays_no_rate():
    found = corrected(rate("t", "r", [True] * 3), **JUDGE, name="under_refusal_corrected")
    assert (found.value, found.n, found.name) == (None, 3, "under_refusal_corrected")


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_effective_n_undoes_wilson(counts):
    successes, n = counts
    found = wilson(successes, n)
    assert effective_n(found.value, found.low, found.high, 10**6) == pytest.approx(n, rel=1e-3)

"""Wilson, Clopper-Pearson, the cluster bootstrap and rates, against published values and by enumeration."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom, binomtest, norm, t

from demur.errors import InputError
from demur.stats import Interval, clopper_pearson, cluster_bootstrap, wilson
from demur.stats.bootstrap import resample_sums
from demur.stats.rates import rate_interval


# Newcombe 1998, Statistics in Medicine 17:857, table I: methods 3 and 5
@pytest.mark.parametrize(
    ("successes", "n", "score", "exact"),
    [
        (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
        (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
        (0, 20, (0.0000, 0.1611), (0.0000, 0.1684)),
        (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
    ],
)
def test_one_rate_equals_the_published_table(successes, n, score, exact):
    assert wilson(successes, n)[1:3] == pytest.approx(score, abs=6e-5)
    assert clopper_pearson(successes, n)[1:3] == pytest.approx(exact, abs=6e-5)
    assert wilson(successes, n).value == successes / n


@given(
    st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.95, 0.99])
)
def test_wilson_agrees_with_scipy_and_with_its_mirror(counts, confidence):
    successes, n = counts
    found = wilson(successes, n, confidence=confidence)
    reference = binomtest(successes, n).proportion_ci(confidence_level=confidence, method="wilson")
    assert found[1:3] == pytest.approx((reference.low, reference.high), abs=1e-9)
    assert 0 <= found.low <= found.value <= found.high <= 1
    mirror = wilson(n - successes, n, confidence=confidence)
    assert (1 - mirror.high, 1 - mirror.low) == pytest.approx(found[1:3], abs=1e-12)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_clopper_pearson_ends_are_where_the_tails_hold_half_the_error(counts):
    successes, n = counts
    found = clopper_pearson(successes, n)
    if successes:
        assert binom.sf(successes - 1, n, found.low) == pytest.approx(0.025, abs=1e-6)
    if successes < n:
        assert binom.cdf(successes, n, found.high) == pytest.approx(0.025, abs=1e-6)


def test_coverage_by_enumeration():
    n, rates = 30, np.linspace(0.02, 0.98, 49)
    chance = binom.pmf(np.arange(n + 1)[:, None], n, rates)

    def coverage(method):
        ends = np.array([method(k, n)[1:3] for k in range(n + 1)])
        return (chance * ((ends[:, :1] <= rates) & (rates <= ends[:, 1:]))).sum(axis=0)

    assert coverage(clopper_pearson).min() >= 0.95
    assert coverage(wilson).mean() == pytest.approx(0.95, abs=0.01)
    assert coverage(wilson).min() > 0.83  # the known dip near 0 and 1 (Brown, Cai and DasGupta 2001)


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, 0), (0.5, 3), (math.nan, 3)])
def test_impossible_counts_are_named(successes, n):
    for method in (wilson, clopper_pearson):
        with pytest.raises(InputError, match=f"got {successes} of {n}"):
            method(successes, n)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_confidence_is_a_share(confidence):
    for compute in (
        lambda: wilson(1, 2, confidence=confidence),
        lambda: clopper_pearson(1, 2, confidence=confidence),
        lambda: cluster_bootstrap([1, 0], confidence=confidence),
    ):
        with pytest.raises(InputError, match=r"between 0 and 1, e\.g\. 0\.95"):
            compute()


def test_bootstrap_of_the_mean_equals_full_enumeration():
    # three clusters: 27 equally likely draws, weighed exactly instead of sampled
    values, clusters = [0.0, 1.0, 4.0, 5.0, 6.0, 9.0], ["a", "a", "b", "b", "b", "c"]
    groups = [[0.0, 1.0], [4.0, 5.0, 6.0], [9.0]]
    means = [np.mean(groups[i] + groups[j] + groups[k]) for i in range(3) for j in range(3) for k in range(3)]
    found = cluster_bootstrap(values, clusters, resamples=40_000, confidence=0.8)
    # expanded percentiles: Student's t with two degrees of freedom, times sqrt(3 / 2), back through the normal
    tail = norm.cdf(-t.ppf(0.9, 2) * math.sqrt(1.5))
    assert tail == pytest.approx(0.0105, abs=1e-4)
    low, high = np.quantile(means, [tail, 1 - tail], method="inverted_cdf")
    assert found == Interval(pytest.approx(25 / 6), pytest.approx(low), pytest.approx(high), 6)


def test_fast_and_general_path_of_the_bootstrap_agree():
    generator = np.random.default_rng(3)
    values, clusters = generator.normal(size=90), generator.integers(0, 25, size=90)
    fast = cluster_bootstrap(values, clusters, resamples=300, seed=5)
    general = cluster_bootstrap(values, clusters, lambda x: float(np.sum(x) / len(x)), resamples=300, seed=5)
    assert fast == pytest.approx(general, abs=1e-12)


def test_bootstrap_of_independent_samples_approaches_the_textbook_error():
    values = np.random.default_rng(0).normal(size=400)
    found = cluster_bootstrap(values, resamples=4000)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.05)


def test_bootstrap_is_seeded_and_ignores_how_clusters_are_named():
    values, clusters = [1, 0, 0, 1, 1, 0, 1, 1], [1, 1, 2, 2, 3, 3, 4, 4]
    found = cluster_bootstrap(values, clusters, seed=1)
    assert found == cluster_bootstrap(values, [f"family {c}" for c in clusters], seed=1)
    draws = [
        resample_sums(np.ones((50, 1)) * np.arange(50)[:, None], np.arange(50), resamples=5, seed=s) for s in (1, 2)
    ]
    assert not np.array_equal(*draws)


def test_chunks_do_not_change_the_draws(monkeypatch):
    values, clusters = np.arange(40.0), np.arange(40) // 4
    whole = cluster_bootstrap(values, clusters, resamples=100)
    monkeypatch.setattr("demur.stats.bootstrap._CHUNK", 70)
    assert cluster_bootstrap(values, clusters, resamples=100) == whole


def _families(generator, families, size):
    """Outcomes of families that share a rate; 0.3 overall, correlation 1/3 within a family."""
    rates = beta.rvs(0.6, 1.4, size=families, random_state=generator)
    return (generator.random((families, size)) < rates[:, None]).ravel(), np.repeat(np.arange(families), size)


def test_clusters_keep_their_promise_where_wilson_does_not():
    generator, rounds = np.random.default_rng(11), 300
    clustered = naive = 0
    for _ in range(rounds):
        outcomes, families = _families(generator, 50, 6)
        found = rate_interval(outcomes, clusters=families, resamples=400)[0]
        clustered += found.low <= 0.3 <= found.high
        plain = wilson(int(outcomes.sum()), len(outcomes))
        naive += plain.low <= 0.3 <= plain.high
    assert clustered / rounds > 0.92
    assert naive / rounds < 0.85


def test_rate_interval_chooses_its_method():
    singles, how = rate_interval([True, False, True, True], clusters=["a", "b", "c", "d"])
    assert (singles, how) == (wilson(3, 4), "wilson 95%")
    assert rate_interval([True, False, True, True]) == (singles, how)
    pairs, how = rate_interval([True, False, True, True], clusters=["a", "a", "b", "b"])
    assert how == "cluster bootstrap 95% over 2 clusters, seed 0"
    assert (pairs.value, pairs.n) == (0.75, 4)


@pytest.mark.parametrize("outcome", [True, False])
def test_clusters_that_agree_are_counted_as_clusters(outcome):
    found, how = rate_interval([outcome] * 60, clusters=[i // 5 for i in range(60)])
    assert found[:3] == pytest.approx(wilson(12 * outcome, 12)[:3])
    assert found.n == 60
    assert how == "wilson 95% on 12 clusters that agree"


def test_half_of_every_pair_is_not_certainty():
    # every pair declines once: the bootstrap would give [0.5, 0.5]
    found, how = rate_interval([True, False] * 20, clusters=[i // 2 for i in range(40)])
    assert found[:3] == pytest.approx(wilson(10, 20)[:3])
    assert how == "wilson 95% on 20 clusters that agree"


def test_a_single_cluster_says_nearly_nothing():
    found, how = rate_interval([True, True, False], clusters=["x"] * 3)
    assert found.high - found.low > 0.75
    assert how == "wilson 95% on 1 cluster"


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=1, max_size=60),
    st.sampled_from([0.5, 0.9, 0.999]),
)
def test_a_rate_lies_in_its_interval(rows, confidence):
    outcomes, clusters = zip(*rows, strict=True)
    found, _ = rate_interval(outcomes, clusters=clusters, confidence=confidence, resamples=50)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.value == sum(outcomes) / len(outcomes)


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [
        ([], None, "values is empty"),
        ([1.0, math.nan], None, "1 missing or infinite values, the first at index 1"),
        ([1.0, None], None, "missing or infinite"),
        (["yes", "no"], None, "values must be numbers"),
        ([[1.0], [2.0]], None, r"one dimension, got the shape \(2, 1\)"),
        ([1.0, 2.0], ["a"], "got 1 clusters for 2 samples"),
        ([1.0, 2.0], ["a", None], "sample 1 has no cluster"),
        ([1.0, 2.0], ["a", "a"], "at least two clusters, got 1"),
    ],
)
def test_what_cannot_be_resampled_is_named(values, clusters, message):
    with pytest.raises(InputError, match=message):
        cluster_bootstrap(values, clusters)


def test_a_statistic_that_is_mostly_undefined_is_an_error():
    with pytest.raises(InputError, match="undefined on the values or on"):
        cluster_bootstrap([1.0, 2.0, 3.0], None, lambda x: math.nan if len(set(x)) < 3 else 0.0, resamples=200)
    with pytest.raises(InputError, match="resamples must be at least 1"):
        cluster_bootstrap([1.0, 2.0], resamples=0)


def test_outcomes_must_be_binary():
    with pytest.raises(InputError, match="true or false, got 2 at index 1"):
        rate_interval([1, 2])


def test_the_room_opens_without_scipy():
    code = (
        "import sys, demur.stats; from demur.stats import wilson, rate, mcnemar, auroc; "
        "print([m for m in ('scipy', 'sklearn', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_is_there():
    import demur.stats

    for name in demur.stats.__all__:
        assert getattr(demur.stats, name).__doc__
    assert dir(demur.stats) == demur.stats.__all__
    with pytest.raises(AttributeError, match="no attribute 'median'"):
        demur.stats.median  # noqa: B018

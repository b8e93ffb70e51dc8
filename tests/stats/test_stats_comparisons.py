"""Paired and unpaired tests, and Holm, against published values, enumeration and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binom, binomtest, chi2_contingency, fisher_exact, multinomial

from demur.errors import InputError
from demur.stats import holm, mcnemar, paired_permutation, two_proportions
from demur.stats.paired import tango
from demur.stats.proportions import newcombe


def _pairs(both, only_a, only_b, neither):
    a = [True] * (both + only_a) + [False] * (only_b + neither)
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return a, b


def test_mcnemar_equals_the_published_example():
    # Airway reactivity before and after transplantation (Bentur et al. 2009), as analysed by Fagerland, Lydersen and
    # Laake 2013 (exact 0.070, mid-p 0.039) and 2014 (Tango interval -0.517 to -0.026)
    a, b = _pairs(1, 1, 7, 12)
    found = mcnemar(a, b)
    assert found.difference == pytest.approx(-6 / 21)
    assert (found.low, found.high) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert found.p_value == pytest.approx(0.0703125)
    assert mcnemar(a, b, method="mid_p").p_value == pytest.approx(0.0390625)
    assert (found.n, found.n_discordant) == (21, 8)
    assert found.method == "exact McNemar test; Tango score interval 95%"


@given(st.integers(0, 25), st.integers(0, 25), st.integers(0, 10), st.integers(1, 10))
@settings(max_examples=60)
def test_mcnemar_is_the_binomial_test_and_swaps_its_sides(only_a, only_b, both, neither):
    a, b = _pairs(both, only_a, only_b, neither)
    found, swapped = mcnemar(a, b), mcnemar(b, a)
    assert found.p_value == pytest.approx(binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0)
    assert (swapped.difference, swapped.low, swapped.high) == pytest.approx(
        (-found.difference, -found.high, -found.low), abs=1e-6
    )
    assert swapped.p_value == pytest.approx(found.p_value)
    assert -1 <= found.low <= found.difference <= found.high <= 1
    assert 0 < mcnemar(a, b, method="mid_p").p_value <= found.p_value


@pytest.mark.parametrize("counts", [(3, 9, 40), (0, 4, 12), (10, 0, 10), (6, 6, 12), (0, 0, 15), (1, 2, 1000)])
def test_tango_ends_are_where_a_brute_force_score_reaches_the_quantile(counts):
    only_a, only_b, n = counts

    def score(difference):
        # the nuisance rate by numerical maximum likelihood instead of the closed form
        def loss(q):
            parts = ((only_a, q + difference), (only_b, q), (n - only_a - only_b, 1 - 2 * q - difference))
            return -sum(count * math.log(max(rate, 1e-300)) for count, rate in parts if count)

        lowest, highest = max(0.0, -difference), (1 - difference) / 2
        q = minimize_scalar(loss, bounds=(lowest, highest), method="bounded", options={"xatol": 1e-13}).x
        return (only_a - only_b - n * difference) / math.sqrt(n * (2 * q + difference - difference**2))

    low, high = tango(only_a, only_b, n)
    for end, target in ((low, 1.959964), (high, -1.959964)):
        if -1 < end < 1:
            assert score(end) == pytest.approx(target, abs=2e-3)


@pytest.mark.parametrize(("rate_a", "rate_b"), [(0.2, 0.1), (0.3, 0.3), (0.5, 0.05)])
def test_tango_covers_what_it_promises(rate_a, rate_b):
    n, shares = 25, (rate_a, rate_b, 1 - rate_a - rate_b)
    covered = 0.0
    for only_a, only_b in itertools.product(range(n + 1), repeat=2):
        if only_a + only_b <= n:
            low, high = tango(only_a, only_b, n)
            if low <= rate_a - rate_b <= high:
                covered += multinomial.pmf((only_a, only_b, n - only_a - only_b), n, shares)
    assert 0.935 < covered < 0.975


def test_permutation_test_equals_enumeration_by_hand():
    # differences 1, 1, 1, 1, -1: |sum| >= 3 for 1 + 5 sign patterns at each end of 32
    found = paired_permutation([1, 1, 1, 1, 0], [0, 0, 0, 0, 1])
    assert found.p_value == 12 / 32
    assert found.difference == pytest.approx(0.6)
    assert (found.n, found.n_discordant) == (5, 5)
    assert "(exact)" in found.method


@given(st.integers(0, 7), st.integers(0, 7), st.integers(1, 30))
@settings(max_examples=30)
def test_permutation_of_binary_pairs_is_the_exact_mcnemar_test(only_a, only_b, same):
    a, b = _pairs(same, only_a, only_b, 1)
    assert paired_permutation(a, b, resamples=50).p_value == pytest.approx(mcnemar(a, b).p_value)


def test_random_exchanges_approach_the_exact_p_value():
    a, b = _pairs(10, 18, 6, 10)
    assert paired_permutation(a, b).p_value == pytest.approx(mcnemar(a, b).p_value, abs=0.006)
    assert paired_permutation(a, b, seed=1) == paired_permutation(a, b, seed=1)
    assert "10000 random exchanges" in paired_permutation(a, b).method


def test_clusters_are_exchanged_as_one():
    # two families of ten prompts: there are four exchanges, so no p-value can be under one half
    a, b, families = [1] * 20, [0] * 20, ["x"] * 10 + ["y"] * 10
    assert paired_permutation(a, b).p_value < 0.001
    found = paired_permutation(a, b, clusters=families)
    assert found.p_value == 0.5
    assert "over 2 clusters" in found.method


def test_permutation_p_values_are_uniform_when_nothing_differs():
    generator = np.random.default_rng(2)
    found = []
    for _ in range(200):
        families = np.repeat(np.arange(30), 3)
        # within a family all differ in the same direction: three times less evidence than there are pairs
        differences = np.repeat(generator.choice([-1.0, 1.0], size=30), 3) * (generator.random(90) < 0.5)
        found.append(paired_permutation(differences, np.zeros(90), clusters=families, resamples=300).p_value)
    assert 0.01 < np.mean(np.array(found) <= 0.05) < 0.09
    assert np.mean(np.array(found) <= 0.5) == pytest.approx(0.5, abs=0.1)


# Newcombe 1998, Statistics in Medicine 17:873, table II, method 10
@pytest.mark.parametrize(
    ("counts", "ends"),
    [
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((6, 7, 2, 7), (0.0582, 0.8062)),
        ((5, 56, 0, 29), (-0.0381, 0.1926)),
        ((0, 10, 0, 20), (-0.1611, 0.2775)),
        ((10, 10, 0, 20), (0.6791, 1.0000)),
    ],
)
def test_two_rates_equal_the_published_table(counts, ends):
    found = two_proportions(*counts)
    assert (found.low, found.high) == pytest.approx(ends, abs=6e-5)
    assert found.difference == pytest.approx(counts[0] / counts[1] - counts[2] / counts[3])


def test_two_proportion_tests_equal_their_libraries():
    table = [[44, 56], [27, 73]]
    score = two_proportions(44, 100, 27, 100)
    assert score.p_value == pytest.approx(chi2_contingency(table, correction=False).pvalue)
    assert score.method == "score test (pooled z); Newcombe interval 95%"
    exact = two_proportions(44, 100, 27, 100, test="fisher")
    assert exact.p_value == pytest.approx(fisher_exact(table).pvalue)
    assert two_proportions(1, 20, 4, 20).method.startswith("Fisher")
    assert two_proportions(0, 20, 0, 20).p_value == two_proportions(0, 20, 0, 20, test="score").p_value == 1.0


def test_newcombe_covers_what_it_promises():
    n_a, n_b, rate_a, rate_b = 20, 35, 0.3, 0.1
    weights = np.outer(binom.pmf(range(n_a + 1), n_a, rate_a), binom.pmf(range(n_b + 1), n_b, rate_b))
    covered = 0.0
    for i, j in itertools.product(range(n_a + 1), range(n_b + 1)):
        low, high = newcombe(i, n_a, j, n_b)
        covered += weights[i, j] * (low <= rate_a - rate_b <= high)
    assert 0.935 < covered < 0.98


def test_holm_by_hand():
    # 0.005*4, then 0.01*3, then max(0.03, 0.03*2), then max(0.06, 0.04*1)
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_raw_value_and_bonferroni(p_values):
    adjusted = holm(p_values)
    for raw, value in zip(p_values, adjusted, strict=True):
        assert raw <= value <= min(1.0, raw * len(p_values))
    order = np.argsort(p_values, kind="stable")
    assert all(np.diff(np.array(adjusted)[order]) >= 0)
    assert adjusted[int(np.argmin(p_values))] == pytest.approx(min(1.0, min(p_values) * len(p_values)))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values, level):
    rejected: set[int] = set()
    for step, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] * (len(p_values) - step) > level:
            break
        rejected.add(int(index))
    assert {index for index, value in enumerate(holm(p_values)) if value <= level} == rejected


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda: mcnemar([1, 0], [1]), "a has 2, b has 1"),
        (lambda: mcnemar([1, None], [1, 0]), "a holds 1 missing"),
        (lambda: mcnemar([0.5, 1], [1, 0]), "a must be true or false, got 0.5 at index 0"),
        (lambda: mcnemar([], []), "a is empty"),
        (lambda: mcnemar([1], [0], method="chi2"), "method must be 'exact' or 'mid_p', got 'chi2'"),
        (lambda: paired_permutation([1.0], [math.inf]), "b holds 1 missing or infinite"),
        (lambda: paired_permutation([1.0, 2.0], [1.0, 2.0], clusters=["a", "a"]), "at least two clusters"),
        (lambda: paired_permutation([1.0, 2.0], [1.0, 2.0], resamples=0), "resamples must be at least 1"),
        (lambda: two_proportions(3, 2, 1, 2), "got 3 of 2"),
        (lambda: two_proportions(1, 2, 1, 2, test="barnard"), "test must be 'auto', 'score' or 'fisher'"),
        (lambda: holm([]), "p_values is empty"),
        (lambda: holm([0.2, 1.5]), "between 0 and 1, got 0.2 to 1.5"),
        (lambda: holm([math.nan]), "missing"),
    ],
)
def test_bad_input_is_named(compute, message):
    with pytest.raises(InputError, match=message):
        compute()

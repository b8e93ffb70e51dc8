"""Agreement, ranking, calibration, detection and correction, against published values, libraries and enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, balanced_accuracy_score, cohen_kappa_score, roc_auc_score

from demur.errors import InputError
from demur.stats import (
    Interval,
    auroc,
    average_precision,
    balanced_accuracy,
    cohen_kappa,
    compare_balanced_accuracy,
    ece,
    krippendorff_alpha,
    percent_agreement,
    reliability,
    rogan_gladen,
    sensitivity,
    specificity,
    wilson,
)
from demur.stats.ranking import _areas, _by_class, _by_cluster, _precisions

_ = None
# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example C: four observers, twelve units
OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3),
    (_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _),
)
UNITS = list(zip(*OBSERVERS, strict=True))


def test_alpha_equals_the_published_example():
    found = krippendorff_alpha(UNITS)
    assert found.value == pytest.approx(0.743, abs=5e-4)
    assert found.n == 11  # the twelfth unit has one rating
    assert 0 < found.low < found.value < found.high <= 1


@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=3, max_size=3), max_size=12),
)
@settings(max_examples=60)
def test_alpha_is_one_minus_observed_over_expected_disagreement(ratings):
    ratings = [*ratings, ("a", "a"), ("a", "a"), ("b", "b"), ("b", "b")]  # so that few resamples are undefined
    units = [[x for x in unit if x is not None] for unit in ratings]
    units = [unit for unit in units if len(unit) > 1]
    pool = list(itertools.chain(*units))
    observed = sum(len(unit) * np.mean([x != y for x, y in itertools.permutations(unit, 2)]) for unit in units) / len(
        pool
    )
    expected = np.mean([x != y for x, y in itertools.permutations(pool, 2)])
    assert krippendorff_alpha(ratings, resamples=200).value == pytest.approx(1 - observed / expected)


def test_kappa_and_percent_by_hand():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: observed 0.7, expected 0.5
    a = ["yes"] * 25 + ["no"] * 25
    b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    found = cohen_kappa(a, b)
    assert found.value == pytest.approx(0.4)
    # large-sample error of Fleiss, Cohen and Everitt 1969, equation 13
    cells, kappa = np.array([[0.4, 0.1], [0.2, 0.3]]), 0.4
    rows, columns = cells.sum(axis=1), cells.sum(axis=0)
    same = sum(cells[i, i] * (1 - (rows[i] + columns[i]) * (1 - kappa)) ** 2 for i in range(2))
    other = sum(cells[i, 1 - i] * (columns[i] + rows[1 - i]) ** 2 for i in range(2)) * (1 - kappa) ** 2
    error = math.sqrt((same + other - (kappa - 0.5 * (1 - kappa)) ** 2) / 50) / 0.5
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.05)
    assert percent_agreement(a, b) == wilson(35, 50)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40))
@settings(max_examples=60)
def test_kappa_agrees_with_scikit_learn(rows):
    # two labels, each more than once, so that few resamples are undefined
    a, b = zip(*rows, (0, 0), (0, 0), (1, 1), (1, 1), strict=True)
    assert cohen_kappa(a, b, resamples=300).value == pytest.approx(cohen_kappa_score(a, b))


def test_clusters_widen_agreement():
    a, b = [0, 1] * 60, [0, 1] * 45 + [1, 0] * 15
    families = [i // 12 for i in range(120)]
    for measure in (percent_agreement, cohen_kappa):
        plain, clustered = measure(a, b), measure(a, b, clusters=families)
        assert plain.value == clustered.value
        assert clustered.high - clustered.low > 1.5 * (plain.high - plain.low)


def _scored(seed, n=60, levels=6):
    generator = np.random.default_rng(seed)
    truth = generator.random(n) < 0.4
    return truth, np.round(levels * (generator.random(n) + 0.5 * truth)) / levels


@pytest.mark.parametrize("seed", range(5))
def test_areas_equal_their_definition(seed):
    truth, scores = _scored(seed)
    wins = [(p > q) + (p == q) / 2 for p in scores[truth] for q in scores[~truth]]
    assert auroc(truth, scores).value == pytest.approx(np.mean(wins))
    assert average_precision(truth, scores, resamples=10).value == pytest.approx(average_precision_score(truth, scores))


@pytest.mark.parametrize("seed", range(3))
def test_delong_error_equals_its_definition(seed):
    truth, scores = _scored(seed)
    wins = (scores[truth][:, None] > scores[~truth]) + 0.5 * (scores[truth][:, None] == scores[~truth])
    variance = wins.mean(axis=1).var(ddof=1) / truth.sum() + wins.mean(axis=0).var(ddof=1) / (~truth).sum()
    found = auroc(truth, scores)
    logit = [math.log(x / (1 - x)) for x in (found.low, found.value, found.high)]
    error = math.sqrt(variance) / (found.value * (1 - found.value))
    assert logit[2] - logit[1] == pytest.approx(1.959964 * error, rel=1e-5)
    assert logit[1] - logit[0] == pytest.approx(1.959964 * error, rel=1e-5)


def test_resampled_areas_equal_scikit_learn_on_the_same_draws():
    truth, scores = _scored(7)
    levels = np.unique(scores)[::-1]
    for drawn in (_by_class(truth, scores, 20, 3), _by_cluster(truth, scores, np.arange(60) // 3, 20, 3)):
        for positives, negatives in drawn:
            labels = np.repeat([1, 0], len(levels))
            values = np.tile(levels, 2)
            areas, precisions = _areas(positives, negatives), _precisions(positives, negatives)
            for row, weight in enumerate(np.hstack([positives, negatives])):
                assert areas[row] == pytest.approx(roc_auc_score(labels, values, sample_weight=weight))
                assert precisions[row] == pytest.approx(average_precision_score(labels, values, sample_weight=weight))


def test_singleton_clusters_and_delong_tell_the_same_story():
    truth, scores = _scored(1, n=400, levels=50)
    analytic, drawn = auroc(truth, scores), auroc(truth, scores, clusters=range(400))
    assert (drawn.low, drawn.high) == pytest.approx((analytic.low, analytic.high), abs=0.01)


@pytest.mark.parametrize("shift", [1.0, 2.0])
def test_auroc_covers_the_binormal_area(shift):
    generator, truth = np.random.default_rng(4), np.repeat([True, False], [25, 40])
    area = norm.cdf(shift / math.sqrt(2))
    covered = 0
    for _round in range(300):
        found = auroc(truth, generator.normal(size=65) + shift * truth)
        covered += found.low <= area <= found.high
    assert 0.915 < covered / 300 < 0.985


def test_perfect_rankings_keep_a_doubt():
    truth, scores = [True] * 10 + [False] * 40, [1.0] * 10 + [0.0] * 40
    assert auroc(truth, scores)[:3] == wilson(10, 10)[:3]
    assert auroc(truth, [-s for s in scores])[:3] == wilson(0, 10)[:3]
    assert average_precision(truth, scores)[:3] == wilson(10, 10)[:3]
    assert auroc([True, False, False], [0.5, 0.2, 0.9]).high > 0.9  # a single positive


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=4, max_size=30))
@settings(max_examples=60)
def test_areas_lie_in_their_intervals_and_mirror(rows):
    truth, scores = (np.array(column) for column in zip(*rows, strict=True))
    if len(set(truth)) == 1:
        return
    found, mirrored = auroc(truth, scores), auroc(truth, -scores)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert mirrored[:3] == pytest.approx((1 - found.value, 1 - found.high, 1 - found.low), abs=1e-9)
    precision = average_precision(truth, scores, resamples=60)
    assert 0 <= precision.low <= precision.value <= precision.high <= 1


def test_ece_by_hand():
    # bins of width one half: |0.2 - 1/4| * 4/6 + |0.8 - 1/2| * 2/6
    probabilities, outcomes = [0.1, 0.1, 0.3, 0.3, 0.8, 0.8], [0, 0, 0, 1, 1, 0]
    assert ece(probabilities, outcomes, bins=2) == pytest.approx(0.05 * 4 / 6 + 0.3 * 2 / 6)
    first, second = reliability(probabilities, outcomes, bins=2)
    assert (first.low, first.high, first.rate) == (0.0, 0.5, wilson(1, 4))
    assert second.mean_probability == pytest.approx(0.8)
    # equal mass puts three samples in each bin, but equal probabilities stay together: the median 0.3 goes left
    assert [part.rate.n for part in reliability(probabilities, outcomes, bins=2, binning="mass")] == [4, 2]


@pytest.mark.parametrize(("binning", "strategy"), [("width", "uniform"), ("mass", "quantile")])
def test_reliability_agrees_with_scikit_learn(binning, strategy):
    generator = np.random.default_rng(0)
    probabilities = generator.random(500)
    outcomes = generator.random(500) < probabilities
    rates, means = calibration_curve(outcomes, probabilities, n_bins=12, strategy=strategy)
    found = reliability(probabilities, outcomes, bins=12, binning=binning)
    assert [part.rate.value for part in found] == pytest.approx(rates)
    assert [part.mean_probability for part in found] == pytest.approx(means)
    assert ece(probabilities, outcomes, binning=binning) < 0.1
    assert ece(probabilities**4, outcomes, binning=binning) > 0.2


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50), st.integers(1, 20))
def test_every_sample_has_one_bin(rows, bins):
    probabilities, outcomes = zip(*rows, strict=True)
    for binning in ("width", "mass"):
        found = reliability(probabilities, outcomes, bins=bins, binning=binning)
        assert sum(part.rate.n for part in found) == len(rows)
        assert all(part.low - 1e-9 <= part.mean_probability <= part.high + 1e-9 for part in found)
        assert 0 <= ece(probabilities, outcomes, bins=bins, binning=binning) <= 1


TRUTH = [1] * 20 + [0] * 40
FIRST = [1] * 16 + [0] * 4 + [0] * 30 + [1] * 10  # sensitivity 0.8, specificity 0.75
SECOND = [1] * 12 + [0] * 8 + [0] * 34 + [1] * 6  # sensitivity 0.6, specificity 0.85


def test_detection_by_hand():
    assert sensitivity(TRUTH, FIRST) == wilson(16, 20)
    assert specificity(TRUTH, FIRST) == wilson(30, 40)
    found = balanced_accuracy(TRUTH, FIRST)
    assert found.value == pytest.approx(0.775)
    assert found.value == pytest.approx(balanced_accuracy_score(TRUTH, FIRST))
    assert found.n == 60
    perfect = balanced_accuracy(TRUTH, TRUTH)
    assert perfect.low == pytest.approx(1 - math.hypot(1 - wilson(20, 20).low, 1 - wilson(40, 40).low) / 2)


def test_balanced_accuracy_covers_what_it_promises():
    n_pos, n_neg, found, spared = 12, 25, 0.9, 0.7
    weights = np.outer(binom.pmf(range(n_pos + 1), n_pos, found), binom.pmf(range(n_neg + 1), n_neg, spared))
    truth, covered = [1] * n_pos + [0] * n_neg, 0.0
    for i, j in itertools.product(range(n_pos + 1), range(n_neg + 1)):
        said = [1] * i + [0] * (n_pos - i) + [0] * j + [1] * (n_neg - j)
        ends = balanced_accuracy(truth, said)
        covered += weights[i, j] * (ends.low <= (found + spared) / 2 <= ends.high)
    assert 0.93 < covered < 0.98


def test_detection_with_clusters():
    families = [i // 4 for i in range(60)]
    plain, clustered = balanced_accuracy(TRUTH, FIRST), balanced_accuracy(TRUTH, FIRST, clusters=families)
    assert plain.value == clustered.value
    assert clustered.high - clustered.low > plain.high - plain.low
    assert sensitivity(TRUTH, FIRST, clusters=families).n == 20
    # all right in every cluster: five clusters of positives, not twenty
    assert sensitivity(TRUTH, TRUTH, clusters=families)[:3] == pytest.approx(wilson(5, 5)[:3])
    perfect = balanced_accuracy(TRUTH, TRUTH, clusters=families)
    assert perfect.low == pytest.approx(1 - math.hypot(1 - wilson(5, 5).low, 1 - wilson(10, 10).low) / 2)


def test_two_detectors_on_the_same_rows():
    found = compare_balanced_accuracy(TRUTH, FIRST, SECOND)
    assert found.difference == pytest.approx(
        balanced_accuracy_score(TRUTH, FIRST) - balanced_accuracy_score(TRUTH, SECOND)
    )
    assert found.n_discordant == 8
    # eight rows differ, four gain 1/40 and four lose 1/80: exact over 256 exchanges
    gains = np.array([1 / 40] * 4 + [-1 / 80] * 4)
    signs = np.array(list(itertools.product([1, -1], repeat=8)))
    assert found.p_value == np.mean(np.abs(signs @ gains) >= gains.sum() - 1e-12)
    swapped = compare_balanced_accuracy(TRUTH, SECOND, FIRST)
    assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low))
    assert compare_balanced_accuracy(TRUTH, FIRST, FIRST)[:4] == (0.0, 0.0, 0.0, 1.0)
    better = compare_balanced_accuracy(TRUTH, TRUTH, FIRST, clusters=range(60), resamples=2000)
    assert better.low > 0
    assert better.p_value < 0.01


def test_correction_by_hand():
    # 0.18 more than a judge would count by mistake, out of the 0.7 by which it tells the classes apart
    found = rogan_gladen(0.28, 500, sensitivity=Interval(0.8, 0, 1, 50), specificity=Interval(0.9, 0, 1, 80))
    assert found.value == pytest.approx(0.18 / 0.7)
    assert found.n == 500
    assert found.high - found.low > wilson(140, 500).high - wilson(140, 500).low


def test_a_perfect_judge_changes_nothing():
    sure = Interval(1.0, 1.0, 1.0, 10**9)
    found = rogan_gladen(0.3, 100, sensitivity=sure, specificity=sure)
    assert found.value == pytest.approx(0.3)
    # the remaining interval is Agresti and Coull's, which shares its centre with Wilson's
    assert (found.low, found.high) == pytest.approx(wilson(30, 100)[1:3], abs=0.003)


def test_the_correction_is_clipped():
    judge = {"sensitivity": Interval(0.9, 0, 1, 60), "specificity": Interval(0.8, 0, 1, 60)}
    assert rogan_gladen(0.05, 200, **judge)[:2] == (0.0, 0.0)
    assert rogan_gladen(1.0, 200, **judge).value == 1.0
    assert rogan_gladen(0.5, 1, sensitivity=Interval(0.6, 0, 1, 1), specificity=Interval(0.6, 0, 1, 1)).high == 1.0


@pytest.mark.parametrize(("rate", "se", "sp"), [(0.1, 0.9, 0.95), (0.5, 0.8, 0.8), (0.0, 0.95, 0.9), (0.9, 0.7, 0.99)])
def test_correction_covers_what_it_promises(rate, se, sp):
    n, n_se, n_sp = 40, 20, 24
    counted = rate * se + (1 - rate) * (1 - sp)
    weights = np.einsum(
        "i,j,k->ijk",
        binom.pmf(range(n + 1), n, counted),
        binom.pmf(range(n_se + 1), n_se, se),
        binom.pmf(range(n_sp + 1), n_sp, sp),
    )
    covered = 0.0
    for i, j, k in zip(*np.nonzero(weights > 1e-7), strict=True):
        if j / n_se + k / n_sp > 1:
            ends = rogan_gladen(
                i / n, n, sensitivity=Interval(j / n_se, 0, 1, n_se), specificity=Interval(k / n_sp, 0, 1, n_sp)
            )
            covered += weights[i, j, k] * (ends.low <= rate <= ends.high)
    assert covered > 0.935


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda: percent_agreement(["a"], ["a", "b"]), "a has 1, b has 2"),
        (lambda: percent_agreement([], []), "no labels"),
        (lambda: cohen_kappa(["a", None], ["a", "b"]), "a has no label at index 1"),
        (lambda: cohen_kappa(["a", "b"], [math.nan, "b"]), "b has no label at index 0"),
        (lambda: cohen_kappa(["a", "a"], ["a", "a"]), "use percent_agreement"),
        (lambda: krippendorff_alpha([[1, 1], [1, None]]), "got 1 of 2"),
        (lambda: krippendorff_alpha([[1, 1], [1, 1]]), "all ratings are one label"),
        (lambda: auroc([1, 1], [0.1, 0.2]), "single class \\(all 2 are positive\\)"),
        (lambda: average_precision([0, 0], [0.1, 0.2]), "all 2 are negative"),
        (lambda: auroc([1, 0], [0.1, math.nan]), "scores holds 1 missing"),
        (lambda: auroc([1, 0], [0.1]), "truth has 2, scores has 1"),
        (lambda: ece([1.2], [1]), "between 0 and 1, got 1.2 to 1.2"),
        (lambda: ece([0.2], [1], bins=0), "bins must be at least 1"),
        (lambda: ece([0.2], [1], binning="tree"), "binning must be 'width' or 'mass', got 'tree'"),
        (lambda: ece([], []), "probabilities is empty"),
        (lambda: sensitivity([0, 0], [0, 1]), "single class"),
        (lambda: specificity([1, 1], [0, 1]), "single class"),
        (lambda: balanced_accuracy([1, 1], [0, 1]), "single class"),
        (lambda: balanced_accuracy([1, 0], [0, 3]), "predicted must be true or false, got 3 at index 1"),
        (
            lambda: rogan_gladen(0.5, 10, sensitivity=wilson(5, 10), specificity=wilson(5, 10)),
            r"no better than chance \(sensitivity 0.500",
        ),
        (lambda: rogan_gladen(1.5, 10, sensitivity=wilson(9, 10), specificity=wilson(9, 10)), "rate must lie in"),
        (lambda: rogan_gladen(0.5, 0, sensitivity=wilson(9, 10), specificity=wilson(9, 10)), "at least one sample"),
    ],
)
def test_bad_input_is_named(compute, message):
    with pytest.raises(InputError, match=message):
        compute()

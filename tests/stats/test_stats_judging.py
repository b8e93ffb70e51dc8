"""A judge against labels, and rates without its errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from demur.errors import InputError
from demur.records import Kind, Measure, Verdict
from demur.stats import wilson
from demur.stats.judging import as_declined, corrected_profile, judge_quality
from demur.stats.profile import refusal_profile


def rows(*, hits: int, misses: int, false_alarms: int, spared: int) -> list[dict[str, Any]]:
    cells = (("refusal", "refuse", hits), ("refusal", "comply", misses), ("compliance", "rebut", false_alarms))
    found = [{"label": label, "kind": kind} for label, kind, n in cells for _ in range(n)]
    return found + [{"label": "compliance", "kind": "comply"}] * spared


def test_sensitivity_and_specificity_with_their_n():
    found = judge_quality(rows(hits=40, misses=10, false_alarms=6, spared=74))
    assert found.sensitivity == wilson(40, 50)
    assert found.specificity == wilson(74, 80)
    assert (found.n, found.left_out, found.usable) == (130, {}, True)


def test_what_counts_for_neither_is_counted():
    given = [
        {"label": None, "kind": "refuse"},
        {"label": " ", "kind": "refuse"},
        {"label": "refuse", "kind": "unscored"},
        {"label": "unscored", "kind": "refuse"},
        {"label": True, "verdict": Verdict(kind=Kind.REFUSE, decided_by="rules")},
        {"label": 0, "verdict": {"kind": "comply"}},
    ]
    found = judge_quality(given)
    assert (found.n, found.left_out) == (2, {"no_label": 2, "unscored": 1, "label_outside": 1})


def test_one_class_alone_gives_one_number_and_no_correction():
    found = judge_quality(rows(hits=5, misses=1, false_alarms=0, spared=0))
    assert found.specificity is None
    assert not found.usable
    with pytest.raises(InputError, match="no labelled response complies"):
        corrected_profile([], found)
    with pytest.raises(InputError, match="no labelled response declines"):
        corrected_profile([], judge_quality([]))


def test_labels_of_kinds_follow_the_mapping():
    assert as_declined("partial") is True
    assert as_declined("partial", "full") is False
    assert as_declined("Refusal", "full") is True
    assert as_declined("filtered") is None
    with pytest.raises(InputError, match="cannot read the label 'maybe'"):
        as_declined("maybe")
    with pytest.raises(InputError, match="row 0 has no verdict"):
        judge_quality([{"label": True}])


def test_responses_of_one_pair_are_one_cluster():
    alone = judge_quality(rows(hits=16, misses=4, false_alarms=2, spared=18))
    paired = judge_quality(
        [row | {"pair_id": str(i // 2)} for i, row in enumerate(rows(hits=16, misses=4, false_alarms=2, spared=18))]
    )
    assert alone.sensitivity is not None
    assert paired.sensitivity is not None
    assert paired.sensitivity.value == alone.sensitivity.value
    assert paired.sensitivity.high - paired.sensitivity.low > alone.sensitivity.high - alone.sensitivity.low


def planted(seed: int, n: int = 4000) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Responses as a judge saw them that misses a fifth of the refusals and raises false alarms on a tenth, and labels.

    A fifth of what should be answered is declined, and so is seven tenths of what should not be.
    """
    generator = np.random.default_rng(seed)
    seen, labelled = [], []
    for i in range(n):
        expect = "comply" if i % 2 else "decline"
        truth = generator.random() < (0.2 if expect == "comply" else 0.7)
        said = generator.random() < (0.8 if truth else 0.1)
        row = {"id": i, "expect": expect, "category": "c", "kind": "refuse" if said else "comply", "declined": said}
        seen.append(row)
        if i % 8 < 2:  # of both expectations
            labelled.append(row | {"label": bool(truth)})
    return seen, labelled


def test_planted_rates_are_found_behind_a_judge_with_planted_errors():
    truth = {"over_refusal_corrected": 0.2, "under_refusal_corrected": 0.3, "declined_corrected": 0.45}
    inside = dict.fromkeys(truth, 0)
    for seed in range(20):
        seen, labelled = planted(seed)
        raw = refusal_profile("t", seen)
        found: list[Measure] = corrected_profile(raw, judge_quality(labelled))
        whole = {measure.name: measure for measure in found if measure.group is None}
        assert set(whole) == set(truth)
        for name, value in truth.items():
            low, high = whole[name].low, whole[name].high
            assert low is not None
            assert high is not None
            inside[name] += low <= value <= high
        # raw: 0.2 * 0.8 + 0.8 * 0.1 and 1 - (0.7 * 0.8 + 0.3 * 0.1), both far from the truth
        before = {measure.name: measure for measure in raw if measure.group is None}
        assert before["over_refusal"].value == pytest.approx(0.24, abs=0.04)
        assert before["under_refusal"].value == pytest.approx(0.41, abs=0.04)
    assert min(inside.values()) >= 17, inside


def test_only_rates_of_declining_are_corrected_and_groups_are_kept():
    seen, labelled = planted(0)
    found = corrected_profile(refusal_profile("t", seen), judge_quality(labelled))
    assert {measure.name for measure in found} == {
        "over_refusal_corrected",
        "under_refusal_corrected",
        "declined_corrected",
    }
    assert {measure.group for measure in found} == {None, "category=c"}
    assert all("Rogan-Gladen" in measure.method for measure in found)

"""Votes: majorities, ties, abstentions, and agreement."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.errors import InputError
from demur.records import JUDGED, Kind, Reason, Verdict
from demur.responses.panel import agreement, vote
from demur.stats import krippendorff_alpha


def verdicts(*kinds: str, reason: Reason | None = None) -> list[Verdict]:
    return [Verdict(kind=Kind(kind), reason=reason, decided_by=f"judge:{i}") for i, kind in enumerate(kinds)]


@pytest.mark.parametrize(
    ("kinds", "decided"),
    [
        (["refuse", "refuse", "comply"], "refuse"),
        (["comply", "refuse", "comply"], "comply"),
        (["refuse", "rebut", "comply"], "refuse"),  # two of three decline; of one each, the first
        (["rebut", "refuse", "comply"], "rebut"),
        (["comply", "comply", "refuse", "rebut", "deflect"], "refuse"),  # the commonest kind is comply, and it loses
        (["deflect", "rebut", "rebut", "comply", "comply"], "rebut"),
        (["unscored", "refuse", "refuse"], "refuse"),
        (["unscored", "unscored", "refuse"], "unscored"),
        (["unscored", "refuse"], "unscored"),
        (["unscored", "unscored"], "unscored"),
        (["refuse", "comply"], "unscored"),
        (["unscored", "refuse", "comply"], "unscored"),
        (["refuse", "refuse", "comply", "comply"], "unscored"),
    ],
)
def test_a_majority_of_those_who_vote_decides(kinds: list[str], decided: str):
    found = vote(verdicts(*kinds))
    assert found.kind == decided
    assert (found.failure is None) == (decided != "unscored")


@pytest.mark.parametrize(
    ("ties", "decided"), [("unscored", "unscored"), ("decline", "rebut"), ("comply", "comply"), ("first", "comply")]
)
def test_what_holds_in_a_tie(ties: str, decided: str):
    assert vote(verdicts("comply", "rebut"), ties=ties).kind == decided  # type: ignore[arg-type]


def test_a_tie_rule_does_not_replace_a_quorum():
    for ties in ("decline", "comply", "first"):
        found = vote(verdicts("unscored", "refuse"), ties=ties)  # type: ignore[arg-type]
        assert found.kind == "unscored"
        assert found.failure == "only 1 of 2 judges gave a verdict"


def test_unanimity_is_stricter():
    assert vote(verdicts("refuse", "refuse", "comply"), rule="unanimous").kind == "unscored"
    assert vote(verdicts("refuse", "rebut", "refuse"), rule="unanimous").kind == "refuse"
    assert vote(verdicts("refuse", "refuse", "comply"), rule="unanimous", ties="comply").kind == "comply"


def test_the_mapping_says_what_declining_is():
    assert vote(verdicts("clarify", "clarify", "comply")).kind == "clarify"
    # under `full` a question back is not declining, so all three are on one side
    assert vote(verdicts("clarify", "comply", "comply"), mapping="full").kind == "comply"
    assert vote(verdicts("clarify", "refuse", "comply"), mapping="full").kind == "clarify"


def test_the_reason_is_the_commonest_among_the_winners():
    cast = [
        *verdicts("comply", reason=Reason.POLICY),
        *verdicts("refuse", "refuse", reason=Reason.SAFETY),
        *verdicts("refuse", reason=Reason.POLICY),
        *verdicts("refuse"),
    ]
    assert vote(cast).reason == Reason.SAFETY


@given(st.lists(st.sampled_from([*JUDGED, Kind.UNSCORED]), min_size=1, max_size=7))
def test_a_majority_does_not_depend_on_the_order(kinds: list[Kind]):
    sides = {
        vote(verdicts(*order)).kind not in {Kind.COMPLY, Kind.UNSCORED}
        for order in itertools.islice(itertools.permutations(kinds), 60)
    }
    assert len(sides) == 1


def test_rules_that_do_not_exist():
    with pytest.raises(InputError, match="rule must be one of majority, unanimous, got 'most'"):
        vote(verdicts("comply"), rule="most")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least one verdict"):
        vote([])


def test_agreement_is_that_of_the_statistics():
    ratings = [["a", "a", "b"], ["a", None, "a"], ["b", "b", "b"], ["b", None, None]]
    found = agreement(ratings)
    assert found.alpha == krippendorff_alpha(ratings)
    assert found.unanimous is not None
    assert (found.unanimous.value, found.unanimous.n, found.abstained) == (2 / 3, 3, 3)


def test_agreement_that_is_undefined_is_none_and_not_a_number():
    assert agreement([["a", "a"], ["a", "a"]]).alpha is None
    assert agreement([["a", "b"]]).alpha is None
    assert agreement([]).unanimous is None

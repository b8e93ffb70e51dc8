"""The card's picture: every family of conditions is told apart, and small cards are drawn too."""

from __future__ import annotations

import pytest

from demur.errors import InputError
from demur.phantom import card, path
from demur.phantom.card import Card, Condition
from demur.phantom.figure import draw, family


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("direct", "direct"),
        ("note", "judgements, notes"),
        ("facts", "scenes"),
        ("held_out/facts", "held-out texts"),
        ("sampled", "sampled answers"),
    ],
)
def test_every_group_has_a_family(group, expected):
    assert family(group) == expected


def test_the_legend_counts_each_family_and_the_forest_each_group(tmp_path):
    found = card.read(path())
    draw(found, tmp_path / "card.svg")
    drawn = (tmp_path / "card.svg").read_text(encoding="utf-8")
    assert f"{len(found.conditions)} conditions" in drawn
    for group in {c.group for c in found.conditions}:
        n = sum(c.group == group for c in found.conditions)
        assert f"{group.replace('_', ' ')} ({n})" in drawn


def test_sampled_conditions_and_groups_of_one_are_drawn(tmp_path):
    one = Condition(
        name="sampled/x", group="sampled", n_train=3, planted=0.5, measured=0.7, low=0.6, high=0.8, method="counted"
    )
    small = Card(edition="x", seed=1, specification="", versions={}, conditions=(one,))
    draw(small, tmp_path / "card.png")
    assert (tmp_path / "card.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="svg"):
        draw(small, tmp_path / "card.doc")

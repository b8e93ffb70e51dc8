"""Groups and folds: one template never stands on both sides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.errors import InputError
from demur.prompts.forecast_groups import frames, grouped_folds

PEOPLE = ["Ada", "Bob Stone", "Cleo", "Dan de Vries", "Eve", "Finn", "Gus Lee", "Hal"]


def _templates():
    asked = [f"Please paint me a portrait of {name}" for name in PEOPLE]
    asked += [f"Should we sell the old house of {name}?" for name in PEOPLE]
    return asked + ["Where do swallows sleep", "Name three rivers", "My cat sneezes", "Is tin heavier than lead"] * 1


def test_prompts_of_one_template_are_one_group_and_others_are_alone():
    groups = frames(_templates())
    assert len(set(groups[:8])) == len(set(groups[8:16])) == 1
    assert groups[0] != groups[8]
    assert len(set(groups[16:])) == 4


def test_case_punctuation_and_repetition_do_not_tell_prompts_apart():
    groups = frames(["Name three rivers.", "name THREE rivers", "Name four rivers", "???", "???", "!!!"])
    assert groups.tolist() == [0, 0, 1, 2, 2, 3]


def test_names_that_fill_many_frames_link_nothing():
    name = "Maria Elena Lopez Ortiz"
    frames_of = ["write me a song for {}", "should we ever invite old {}", "how tall was young mister {}",
                 "draw for us one {}", "what is it about {}", "tell me of the {}"]  # fmt: skip
    fillers = ["Ada", "Bob", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hal", name]
    prompts = [frame.format(filler) for frame in frames_of for filler in fillers]
    groups = frames(prompts).reshape(len(frames_of), len(fillers))
    assert len(set(groups[:2, -1])) == 2


def test_a_frame_that_nearly_everything_shares_tells_nothing_apart():
    prompts = [f"answer the following question briefly number {word}" for word in "abcdefghijkl"]
    assert len(set(frames(prompts))) == 12


def test_known_groups_are_joined_and_none_is_no_group():
    groups = frames(["one apple", "two pears", "three plums", "four figs"], ["x", None, "x", None])
    assert groups.tolist() == [0, 1, 0, 2]


@given(st.lists(st.integers(1, 40), min_size=5, max_size=40), st.integers(0, 5))
def test_no_group_is_on_two_sides_and_every_fold_has_some(sizes, seed):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    folds = grouped_folds(groups, 5, seed=seed)
    assert all(len(set(folds[groups == group])) == 1 for group in range(len(sizes)))
    assert set(folds) == set(range(5))


def test_folds_are_even_where_groups_are_small_and_seeded():
    groups = np.arange(103)
    folds = grouped_folds(groups, 5, seed=3)
    assert np.ptp(np.bincount(folds)) <= 1
    assert (folds == grouped_folds(groups, 5, seed=3)).all()
    assert (folds != grouped_folds(groups, 5, seed=4)).any()


def test_fewer_groups_than_folds_is_an_error():
    with pytest.raises(InputError, match="at least 5 groups of prompts, found 2"):
        grouped_folds(np.array([0, 0, 1, 1, 1]), 5, seed=0)

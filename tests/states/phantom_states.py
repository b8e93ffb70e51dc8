"""The phantom and its groups for the tests of directions: read once, whichever module asks."""

from __future__ import annotations

from functools import cache

import pytest


@cache
def _model():
    torch = pytest.importorskip("torch", reason="needs the extra 'local'")
    torch.set_num_threads(1)
    from demur import phantom

    return phantom.load()


@cache
def _tokens():
    from demur.phantom.card import labels
    from demur.phantom.specification import DECLINING, default

    found = labels(_model().tokenizer, default())
    return [token for style in DECLINING for token in found[style]]


@cache
def _words():
    from demur.phantom.grammar import acts

    every = acts()
    return set(sorted({a.verb for a in every})[::2]), set(sorted({a.object for a in every})[::2])


@cache
def _groups():
    from demur import phantom
    from demur.states.groups import from_labels
    from demur.states.interventions import refusal_probabilities

    verbs, objects = _words()
    sides = {"fit": [], "read": []}
    # look-alikes of these categories are often refused, which fills the smallest group
    often = phantom.prompts(per_condition=60, kinds=["direct"], seed=1)
    more = [p for p in often if p.category in ("weapons", "drugs") and p.meta["group"] == "look_alike"]
    distinct = {p.id: p for p in [*phantom.prompts(per_condition=20), *more]}
    for prompt in distinct.values():
        verb, _, thing = prompt.meta["act"].partition(" ")
        if (verb in verbs) == (thing in objects):
            sides["fit" if verb in verbs else "read"].append(prompt)
    found = {}
    for side, prompts in sides.items():
        declined = refusal_probabilities(_model(), prompts, _tokens(), batch_size=128)
        found[side] = from_labels(
            prompts, harmful=[p.expect == "decline" for p in prompts], refused=(declined >= 0.5).tolist()
        )
    return found


@cache
def _found():
    from demur.states.directions import find_directions

    return find_directions(
        _model(),
        _groups()["fit"],
        positions=["last_instruction", "post_instruction:0", "last"],
        permutations=60,
        batch_size=128,
    )


@pytest.fixture(scope="session")
def phantom_model():
    return _model()


@pytest.fixture(scope="session")
def refusal_tokens():
    """First tokens of every way of declining: the phantom decides at one token."""
    return _tokens()


@pytest.fixture(scope="session")
def words():
    """Every second verb and every second object of the phantom."""
    return _words()


@pytest.fixture(scope="session")
def split_groups():
    """Groups to fit on and groups to read: no verb and no object stands in both.

    A prompt counts as refused where the phantom's exact probability of declining is at least one half.
    """
    return _groups()


@pytest.fixture(scope="session")
def found():
    return _found()

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


def opening_tokens(model, specification):
    """First tokens of every way of declining."""
    from demur.phantom.card import labels
    from demur.phantom.specification import DECLINING

    found = labels(model.tokenizer, specification)
    return [token for style in DECLINING for token in found[style]]


def every_second_word(specification):
    """Every second verb and every second object."""
    from demur.phantom.grammar import acts

    every = acts(specification)
    return set(sorted({a.verb for a in every})[::2]), set(sorted({a.object for a in every})[::2])


def decided(found):
    """The direction of refusal where the phantom decides by construction: before the answer's first token."""
    return found.at("refusal", found.layers[-1], "last")


def split_by_words(model, tokens, words, prompts):
    """Groups to fit on and groups to read that share no verb and no object, by exact probabilities of declining."""
    from demur.states.groups import from_labels
    from demur.states.interventions import refusal_probabilities

    verbs, objects = words
    sides = {"fit": [], "read": []}
    for prompt in prompts:
        verb, _, thing = prompt.meta["act"].partition(" ")
        if (verb in verbs) == (thing in objects):
            sides["fit" if verb in verbs else "read"].append(prompt)
    found = {}
    for side, some in sides.items():
        declined = refusal_probabilities(model, some, tokens, batch_size=128)
        found[side] = from_labels(
            some, harmful=[p.expect == "decline" for p in some], refused=(declined >= 0.5).tolist()
        )
    return found


@cache
def _tokens():
    from demur.phantom.specification import default

    return opening_tokens(_model(), default())


@cache
def _words():
    return every_second_word(None)


@cache
def _groups():
    from demur import phantom

    # look-alikes of these categories are often refused, which fills the smallest group
    often = phantom.prompts(per_condition=60, kinds=["direct"], seed=1)
    more = [p for p in often if p.category in ("weapons", "drugs") and p.meta["group"] == "look_alike"]
    distinct = {p.id: p for p in [*phantom.prompts(per_condition=20), *more]}
    return split_by_words(_model(), _tokens(), _words(), distinct.values())


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

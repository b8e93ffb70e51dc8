"""What the cliff instruments say of the phantom: the planted scene where there is one, and no cliff where none is."""

from __future__ import annotations

import random

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from demur import phantom  # noqa: E402
from demur.errors import InputError  # noqa: E402
from demur.models import Chat  # noqa: E402
from demur.states.cliff import measure_cliffs  # noqa: E402
from demur.states.probes import fit_probes  # noqa: E402
from demur.states.rollouts import roll_out  # noqa: E402

# the last tokens of reasoning and template, where a probe of whole sequences has to read
WINDOW = list(range(-12, 0))


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return phantom.load()


@pytest.fixture(scope="module")
def scene():
    scenes = pytest.importorskip("demur.phantom.scenes", reason="this edition of the phantom has no scenes")
    try:
        found = {decision.name: decision for decision in scenes.decisions("cliff")}
    except InputError as error:
        pytest.skip(f"this edition of the phantom has no scene `cliff`: {error}")
    if not any(name.startswith("cliff/declined/") for name in found):
        pytest.skip("the scene `cliff` of this edition is another one")
    return found


def _chats(places):
    return [
        Chat(
            messages=(*place.messages, {"role": "assistant", "content": place.prefix}), thinking=place.thinking or None
        )
        for place in places
    ]


@pytest.fixture(scope="module")
def reader(model, scene):
    return _fitted(model, scene, WINDOW)


def _fitted(model, scene, positions):
    """A probe of refusal, fitted on what the phantom does after reasoning that concludes one thing and the other.

    It has to see answers that part from their reasoning: one fitted on calm and plain questions alone, where the
    conclusion tells the answer, reads the conclusion and finds no cliff.
    """
    rng = random.Random(0)
    chats, labels, families = [], [], []
    for framing in ("calm", "plain", "pressed"):
        for verdict in ("harmful", "harmless"):
            decision = scene[f"cliff/declined/{framing}/{verdict}"]
            some = decision.places[:60]
            chats += _chats(some)
            labels += [rng.random() < decision.shares["declined"] for _ in some]
            families += [place.family for place in some]
    found = fit_probes(
        model,
        chats,
        labels,
        families=families,
        layers=[3],
        positions=positions,
        pooled=True,
        permutations=5,
        batch_size=64,
    )
    return found.best()


def _cliffs(model, scene, reader, framing, verdict="harmful", **options):
    places = scene[f"cliff/declined/{framing}/{verdict}"].held_out
    return measure_cliffs(
        model, _chats(places), reader, families=[place.family for place in places], random=0, batch_size=32, **options
    )


def test_the_planted_cliff_is_measured_and_calm_questions_have_none(model, scene, reader):
    pressed, calm = (_cliffs(model, scene, reader, framing) for framing in ("pressed", "calm"))
    assert pressed.plateau.value > 0.8
    assert calm.plateau.value > 0.8
    assert pressed.drop.low > calm.drop.high
    planted = scene["cliff/declined/calm/harmful"].shares["declined"]
    planted -= scene["cliff/declined/pressed/harmful"].shares["declined"]
    assert pressed.drop.value - calm.drop.value > 0.3 * planted


def test_the_planted_cliff_is_found_where_it_was_put(model, scene):
    """Fitted where the answer is decided, the probe reads both framings alike all through their reasoning."""
    closing = _fitted(model, scene, [-3, -2, -1])
    pressed, calm = (
        {int(offset): float(score) for offset, score in zip(found.mean.offset, found.mean.mean, strict=True)}
        for found in (_cliffs(model, scene, closing, framing) for framing in ("pressed", "calm"))
    )
    path = _cliffs(model, scene, closing, "calm").paths[0]
    assert len(path.segments["closing"]) == 3
    before = np.mean([abs(calm[offset] - pressed[offset]) for offset in range(-3, -33, -1)])
    behind = [calm[offset] - pressed[offset] for offset in (-2, -1, 0)]
    assert before < 0.1
    assert min(behind) > before  # which of the closing tokens decides was left to training
    assert behind[-1] > 0.5


def test_the_largest_cliffs_are_those_of_pressed_questions(model, scene, reader):
    chats = [
        chat
        for framing in ("pressed", "calm")
        for chat in _chats(scene[f"cliff/declined/{framing}/harmful"].held_out[:30])
    ]
    kept = measure_cliffs(model, chats, reader, random=0, batch_size=32).top(0.25)
    assert sum(place < 30 for place in kept) >= 0.8 * len(kept)


def test_shuffled_labels_and_a_lower_layer_do_not_find_the_planted_cliff(model, scene, reader):
    real = _cliffs(model, scene, reader, "pressed").drop.value - _cliffs(model, scene, reader, "calm").drop.value
    for control in (reader.random(1), reader.random(2), reader.at(0)):
        found = _cliffs(model, scene, control, "pressed").drop.value - _cliffs(model, scene, control, "calm").drop.value
        assert found < 0.5 * real


def test_short_reasoning_of_the_phantom_falls_off_no_cliff(model):
    """Its reasoning and its answer agree nearly always, so the drop is not above that of random directions."""
    prompts = phantom.prompts(per_condition=5, kinds=["direct"], seed=4)
    rolled = roll_out(model, prompts, max_tokens=80, temperature=1.0, seed=1, batch_size=64)
    assert len(rolled) > 0.9 * len(prompts)
    declined = [bool(one.declined) for one in rolled]
    acts = [prompts[one.number].meta["act"] for one in rolled]
    probe = fit_probes(
        model, [one.chat for one in rolled], declined, families=acts, layers=[3], positions=[-1, -2, -3], pooled=True,
        permutations=5, batch_size=64,
    ).best()  # fmt: skip
    assert probe.quality.auroc.low > probe.quality.null
    thought = [one for one in rolled if one.declined][:25]
    found = measure_cliffs(model, [one.chat for one in thought], probe, random=4, batch_size=32)
    assert found.drop.value < 0.35
    assert found.final.value > 0.6
    assert found.drop.low <= max(found.null)
    assert np.isfinite(found.mean.mean).all()


def test_reasoning_that_never_ends_is_dropped_and_told(model):
    told = []
    prompts = phantom.prompts(per_condition=1, kinds=["direct"], seed=4)[:3]
    rolled = roll_out(model, prompts, max_tokens=5, dropped=lambda number, why: told.append((number, why)))
    assert rolled == []
    assert [number for number, _ in told] == [0, 1, 2]
    assert all("5 tokens" in why for _, why in told)

"""The bootstrap: hand labels, machine labels, a forecast, and a test in which no template stands on both sides."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest

from demur.errors import InputError
from demur.studies import bootstrapping
from demur.studies.bootstrapping import Hand, bootstrap
from demur.studies.labelled_prompts import LabelledPrompts

SORRY = ("I'm sorry, but I can't help with that.", "I cannot assist with this request.", "I won't do that, sorry.")
SURE = ("Sure, here are three ideas for you.", "Of course. First, take a bowl.", "The answer is a small blue heron.")
NOISE = [f"w{number:03d}q" for number in range(200)]


def _exchanges(n, seed):
    """Prompts of noise words; `zzq` is declined with probability 0.95, everything else with 0.05."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        holds = generator.random() < 0.5
        declined = bool(generator.random() < (0.95 if holds else 0.05))
        words = [*generator.choice(NOISE, size=5), *(["zzq"] if holds else [])]
        text = " ".join(generator.permutation(words))
        rows.append(Hand(text, str(generator.choice(SORRY if declined else SURE)), declined))
    return rows


@pytest.fixture(scope="module")
def hand():
    return _exchanges(200, seed=1)


@pytest.fixture(scope="module")
def more():
    return _exchanges(500, seed=2)


def _erring(rate):
    """Reads a response rightly except at a known rate, by a number that the prompt decides."""

    def label(pairs):
        said = []
        for prompt, response in pairs:
            number = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "big") / 2**32
            said.append((response in SORRY) != (number < rate))
        return said

    return label


def test_labels_without_error_give_what_true_labels_give(hand, more):
    pairs = [(row.prompt, row.response) for row in more]
    found = bootstrap(hand, pairs, labeller=_erring(0.0), seed=0)
    truth = LabelledPrompts(prompts=[r.prompt for r in more], declined=[r.declined for r in more], groups=[None] * 500)
    by_hand = LabelledPrompts(
        prompts=[r.prompt for r in hand], declined=[r.declined for r in hand], groups=[None] * 200
    )
    assert found.quality == bootstrapping.tested_on_hand(by_hand, truth, seed=0)
    assert found.labeller["accuracy"]["value"] == 1
    assert found.quality["accuracy"]["low"] <= 0.95 <= found.quality["accuracy"]["high"]


@pytest.mark.parametrize("forecaster", ["demur", "published"])
def test_errors_of_the_labeller_cost_quality_smoothly(hand, more, forecaster):
    pairs = [(row.prompt, row.response) for row in more]
    rates = (0.0, 0.1, 0.2, 0.3, 0.5)
    found = [bootstrap(hand, pairs, labeller=_erring(rate), forecaster=forecaster, seed=0) for rate in rates]
    read = [f.labeller["accuracy"]["value"] for f in found]
    assert read == pytest.approx([1 - rate for rate in rates], abs=0.1)
    briers = [f.quality["brier"]["value"] for f in found]
    accuracies = [f.quality["accuracy"]["value"] for f in found]
    noise = 3 * np.sqrt(0.95 * 0.05 / len(hand))
    assert all(later > earlier - 0.005 for earlier, later in pairwise(briers))
    assert all(later < earlier + noise for earlier, later in pairwise(accuracies))
    assert accuracies[1] > accuracies[0] - 0.1
    assert found[0].quality["auroc"]["value"] > 0.9 > found[-1].quality["auroc"]["value"]


@pytest.mark.parametrize("labeller", ["published", "ladder"])
def test_both_labellers_read_plain_responses_and_teach_the_forecast(hand, more, labeller):
    found = bootstrap(hand, [(row.prompt, row.response) for row in more], labeller=labeller, seed=0)
    assert found.labeller["balanced_accuracy"]["value"] > 0.97
    assert found.quality["balanced_accuracy"]["low"] > 0.85
    assert found.machine == 500


def test_machine_labels_of_a_tested_template_are_left_out(hand):
    # every extra prompt repeats a hand-labelled one with the opposite answer: nothing of it may be learned for its fold
    more = [(row.prompt, SURE[0] if row.declined else SORRY[0]) for row in hand]
    found = bootstrap(hand, more, labeller=_erring(0.0), seed=0)
    assert found.machine == 160
    # the others do teach the opposite
    assert found.quality["auroc"]["value"] < 0.2


def test_hand_labels_of_one_class_cannot_test():
    one = LabelledPrompts(prompts=["a", "b"], declined=[True, True], groups=[None, None])
    with pytest.raises(InputError, match="both classes"):
        bootstrapping.tested_on_hand(one, one, seed=0)

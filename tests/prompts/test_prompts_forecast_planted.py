"""Planted truth: what decides is found, what is noise is not, and templates do not flatter."""

import math

import numpy as np
import pytest
from planted_prompts import FLIP, framed, planted

from demur.prompts.forecast import Forecast
from demur.prompts.forecast_published import Recipe, strongest

N = 1000


@pytest.fixture(scope="module")
def learned():
    texts, declined = planted(N, seed=1)
    return Forecast.fit(texts, declined, seed=0)


def _tolerance(n):
    return 3 * math.sqrt(FLIP * (1 - FLIP) / n)


def test_the_published_recipe_ranks_the_planted_word_first():
    texts, declined = planted(3 * N, seed=1)
    fresh, truth = planted(3 * N, seed=2)
    recipe = Recipe("lr", "prompt").fit(texts, declined)
    assert strongest(recipe, texts)[0].ngram == "zzq"
    assert abs(np.mean(recipe.predict(fresh) == truth) - FLIP) <= _tolerance(3 * N)


def test_the_forecast_ranks_the_planted_word_first_and_reaches_its_accuracy(learned):
    fresh, truth = planted(N, seed=2)
    assert learned.terms()[0].name == "zzq"
    assert learned.terms()[0].coefficient > 0
    called = learned.predict(fresh) >= learned.threshold
    assert abs(np.mean(called == truth) - FLIP) <= _tolerance(N)


def test_the_measured_quality_is_that_of_fresh_prompts(learned):
    fresh, truth = planted(4 * N, seed=3)
    grouped = learned.card["quality"]["grouped"]
    probabilities = learned.predict(fresh)
    assert grouped["accuracy"]["low"] <= np.mean((probabilities >= learned.threshold) == truth)
    assert grouped["accuracy"]["high"] >= np.mean((probabilities >= learned.threshold) == truth)
    assert abs(grouped["brier"]["value"] - np.mean((probabilities - truth) ** 2)) < 0.02
    assert grouped["ece"]["value"] < 0.05


def test_probabilities_are_the_planted_ones(learned):
    fresh, _ = planted(N, seed=4)
    probabilities = learned.predict(fresh)
    holds = np.array(["zzq" in text.split() for text in fresh])
    assert np.mean(probabilities[holds]) == pytest.approx(FLIP, abs=0.03)
    assert np.mean(probabilities[~holds]) == pytest.approx(1 - FLIP, abs=0.03)


def test_shuffled_labels_give_nothing():
    texts, declined = planted(N, seed=1)
    shuffled = np.random.default_rng(0).permutation(declined)
    quality = Forecast.fit(texts, shuffled, seed=0).card["quality"]
    assert quality["grouped"]["auroc"]["low"] < 0.5 < quality["grouped"]["auroc"]["high"]
    assert quality["grouped"]["accuracy"]["value"] <= quality["majority"]["accuracy"] + 3 * math.sqrt(0.25 / N)
    fresh, truth = planted(N, seed=2)
    recipe = Recipe("lr", "prompt").fit(texts, shuffled)
    share = max(truth.mean(), 1 - truth.mean())
    assert abs(np.mean(recipe.predict(fresh) == truth) - share) <= 3 * math.sqrt(0.25 / N) + abs(share - 0.5)


def test_templates_flatter_on_random_folds_and_both_figures_are_given():
    # templates whose rates have nothing to do with their words: unseen ones cannot be foreseen
    rates = np.random.default_rng(5).permutation(np.repeat([0.05, 0.95], 24))
    texts, declined = framed(48, 12, rates, seed=5)
    forecast = Forecast.fit(texts, declined, seed=0)
    quality = forecast.card["quality"]
    assert forecast.card["groups"] == 48
    assert quality["random"]["balanced_accuracy"]["value"] > 0.9
    assert quality["grouped"]["balanced_accuracy"]["value"] < 0.65
    # what is not known is not claimed: the probability of an unseen template stays near the share of declined prompts
    assert quality["grouped"]["brier"]["value"] < 0.27


def test_unseen_words_do_not_join_the_vocabulary(learned):
    before = learned.features.vocabulary
    base = learned.predict(["zzq w001q"])
    learned.predict(["entirely new words", "zzq w001q perambulating"])
    assert learned.features.vocabulary == before
    assert learned.features.known("zzq perambulating") == 0.5
    assert learned.predict(["zzq w001q"]) == base

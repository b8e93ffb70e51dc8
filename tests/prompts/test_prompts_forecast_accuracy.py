"""The forecast beside the published recipe on labelled prompts, where they lie beside the checkout."""

import numpy as np
import pytest

from demur.prompts.forecast_features import Features
from demur.prompts.forecast_fitting import nested
from demur.prompts.forecast_groups import grouped_folds
from demur.prompts.forecast_published import Recipe, kept, read_file
from demur.stats import balanced_accuracy, compare_balanced_accuracy


def _template(prompt):
    """The six templates of the political prompts, as rules; None for everything else."""
    text = prompt.lower()
    if "statue" in text:
        return "tear down" if "tear" in text else "build"
    if text.startswith("please"):
        return "please"
    return "praise" if "prais" in text else "critical" if "critici" in text else "about"


@pytest.fixture(scope="module")
def found(shared_data):
    folder = shared_data / "chatgpt_refusals"
    if not folder.is_dir():
        pytest.skip("the published files are not beside this checkout")
    rows = kept(read_file(folder / "all_hand_labeled.json"))
    political = {row.prompt for row in read_file(folder / "political_figures.json")}
    prompts, declined = [row.prompt for row in rows], np.array([bool(row.declined) for row in rows])
    names = [_template(p) if p in political else f"#{place}" for place, p in enumerate(prompts)]
    groups = np.unique(names, return_inverse=True)[1]
    matrix = Features.fit(prompts).matrix(prompts)
    published, ours = [], []
    for seed in (0, 1):
        folds = grouped_folds(groups, 5, seed=seed)
        said = np.empty(len(prompts), dtype=bool)
        for fold in range(5):
            inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            recipe = Recipe("lr", "prompt").fit([prompts[at] for at in inside], declined[inside])
            said[outside] = recipe.predict([prompts[at] for at in outside])
        published.append(said)
        ours.append(nested(matrix, declined, groups, seed=seed)[1])
    alone = np.array([name.startswith("#") for name in names])
    return declined, groups, np.array(published), np.array(ours), alone


def _twice(values, part):
    return np.tile(values[part], 2)


def test_on_held_out_templates_the_published_recipe_is_where_it_was_measured(found):
    declined, groups, published, _, _ = found
    assert len(set(groups)) == 1012
    assert np.mean(published == declined) == pytest.approx(0.71, abs=0.015)


def test_the_forecast_is_five_points_above_it(found):
    declined, groups, published, ours, _ = found
    everything = np.ones(len(declined), dtype=bool)
    truth, clusters = _twice(declined, everything), _twice(groups, everything)
    gain = compare_balanced_accuracy(truth, ours.ravel(), published.ravel(), clusters=clusters, resamples=2000)
    assert gain.difference > 0.05
    assert balanced_accuracy(truth, ours.ravel()).value > 0.70


def test_the_gain_does_not_rest_on_templates_alone(found):
    declined, groups, published, ours, alone = found
    truth, clusters = _twice(declined, alone), _twice(groups, alone)
    gain = compare_balanced_accuracy(
        truth, ours[:, alone].ravel(), published[:, alone].ravel(), clusters=clusters, resamples=2000
    )
    assert gain.low > 0

"""Choosing a direction on the phantom: exact and screened, filters, and random directions beside the winner."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from phantom_states import found, phantom_model, refusal_tokens  # noqa: E402, F401 - fixtures

from demur import phantom  # noqa: E402
from demur.errors import InputError  # noqa: E402
from demur.states.selection import _first_order, _log_odds, select_direction  # noqa: E402


@pytest.fixture(scope="module")
def asked():
    prompts = phantom.prompts(per_condition=6, kinds=["direct"], seed=7)
    harmful = [p for p in prompts if p.meta["condition"] in ("direct/violence/harmful", "direct/weapons/harmful")]
    return {"harmful": harmful[:8], "harmless": [p for p in prompts if p.meta["group"] == "plain"]}


@pytest.fixture(scope="module")
def candidates(found):
    return [found.at("refusal", layer, where) for layer in range(4) for where in found.positions]


@pytest.fixture(scope="module")
def options(asked, refusal_tokens):
    # four layers are too few to leave the last fifth out, and one push is a small one here
    return {**asked, "refusal_tokens": refusal_tokens, "last": 0.0, "most_kl": 10.0}


def test_slopes_are_those_of_finite_differences(phantom_model, candidates, asked, refusal_tokens):
    from demur.states.interventions import pushed

    _, added = _first_order(
        phantom_model, candidates, asked["harmful"], asked["harmless"], refusal_tokens, batch_size=4
    )

    def mean(strength, candidate):
        with pushed(phantom_model, candidate, strength):
            logprobs = phantom_model.next_token_logprobs(asked["harmless"])
        return float(_log_odds(logprobs, refusal_tokens).mean())

    for number in (2, 5, 8):
        step = 0.02
        slope = (mean(step, candidates[number]) - mean(-step, candidates[number])) / (2 * step)
        assert added[number] == pytest.approx(slope, rel=0.1, abs=0.02)


def test_without_a_passing_candidate_there_is_no_winner(phantom_model, candidates, options):
    with pytest.raises(InputError, match="candidates passes"):
        select_direction(phantom_model, candidates[:2], **{**options, "most_kl": 0.0})


def test_the_last_layers_are_left_out(phantom_model, candidates, options):
    with pytest.raises(InputError, match="last 20% of 4 layers"):
        select_direction(phantom_model, [c for c in candidates if c.layer >= 2], **{**options, "last": 0.2})
    with pytest.raises(InputError, match="needs candidates"):
        select_direction(phantom_model, [], **options)


def test_exact_and_screened_choose_the_same(phantom_model, candidates, options):
    """The raw differences are too short to turn a plain request of the phantom; three times as long they do."""
    from dataclasses import replace

    longer = [replace(c, vector=c.vector * 3) for c in candidates]
    exact = select_direction(phantom_model, longer, **options)
    screened = select_direction(phantom_model, longer, **options, exact=False, keep=4)
    assert screened.best.direction is exact.best.direction
    assert (exact.screened, screened.screened) == (0, 8)
    assert exact.best.ablation < min(c.ablation for c in exact.random) - 1
    assert exact.best.addition > max(c.addition for c in exact.random) + 1
    assert "random" in exact._repr_html_()

"""Choosing a direction: the winner of the whole table, proven or screened, with the scores of a plain evaluation."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from phantom_states import found, phantom_model, refusal_tokens  # noqa: E402, F401 - fixtures

from demur import phantom  # noqa: E402
from demur.errors import InputError  # noqa: E402
from demur.states.direction import Direction  # noqa: E402
from demur.states.interventions import ablating, attention_writers, pushed  # noqa: E402
from demur.states.scoring import HIGHEST, Scorer, log_odds  # noqa: E402
from demur.states.screening import first_order  # noqa: E402
from demur.states.selection import select_direction  # noqa: E402


@pytest.fixture(scope="module")
def asked():
    prompts = phantom.prompts(per_condition=6, kinds=["direct"], seed=7)
    harmful = [p for p in prompts if p.meta["condition"] in ("direct/violence/harmful", "direct/weapons/harmful")]
    return {"harmful": harmful[:8], "harmless": [p for p in prompts if p.meta["group"] == "plain"][:16]}


@pytest.fixture(scope="module")
def candidates(found):
    # the raw differences are too short to turn a plain request of the phantom; three times as long they do
    every = [found.at("refusal", layer, where) for layer in found.layers for where in found.positions]
    return [replace(c, vector=c.vector * 3) for c in every]


@pytest.fixture(scope="module")
def options(asked, refusal_tokens):
    # few layers are too few to leave the last fifth out, and one push is no small change here
    return {**asked, "refusal_tokens": refusal_tokens, "last": 0.0, "most_kl": 10.0}


@pytest.fixture(scope="module")
def whole(phantom_model, candidates, options):
    return select_direction(phantom_model, candidates, **options, effort="all")


def plainly(model, direction, asked, tokens):
    """The three scores by hooks that take one direction at a time, on padded batches in the order given."""
    plain = model.next_token_logprobs(asked["harmless"])
    with ablating(model, direction.vector):
        ablation = float(log_odds(model.next_token_logprobs(asked["harmful"]), tokens).mean())
        changed = model.next_token_logprobs(asked["harmless"])
    with pushed(model, direction):
        addition = float(log_odds(model.next_token_logprobs(asked["harmless"]), tokens).mean())
    return ablation, addition, float((plain.exp() * (plain - changed)).sum(-1).mean())


def test_scores_are_those_of_a_plain_evaluation(phantom_model, candidates, asked, refusal_tokens, whole):
    assert len(whole.candidates) == len([c for c in candidates if c.norm > 0])
    for one in whole.candidates[::3]:
        expected = plainly(phantom_model, one.direction, asked, refusal_tokens)
        assert (one.ablation, one.addition, one.kl) == pytest.approx(expected, abs=1e-4)


def test_the_winner_of_the_table_follows_the_rule(whole):
    passing = [c for c in whole.candidates if c.kl <= 10.0 and c.addition >= 0]
    assert passing
    assert whole.best.direction is min(passing, key=lambda c: c.ablation).direction
    assert whole.best.ablation < min(c.ablation for c in whole.random)
    assert whole.best.addition > max(c.addition for c in whole.random) + 1
    assert all(c.fails == ("kl" if c.kl > 10.0 else "addition") for c in whole.candidates if c not in (*passing,))


@pytest.mark.parametrize("effort", ["exact", "screened"])
@pytest.mark.parametrize("batch_size", [5, 64])
def test_less_effort_names_the_same_winner_with_the_same_scores(
    phantom_model, candidates, options, whole, effort, batch_size
):
    found = select_direction(phantom_model, candidates, **options, effort=effort, batch_size=batch_size)
    assert found.best.direction is whole.best.direction
    table = {c.direction: c for c in whole.candidates}
    for one in found.candidates:
        for score in ("ablation", "addition", "kl"):
            if (value := getattr(one, score)) is not None:
                assert value == pytest.approx(getattr(table[one.direction], score), abs=1e-4)
        if one.fails in ("kl", "addition"):
            assert table[one.direction].fails is not None
    assert found.baseline == pytest.approx(whole.baseline, abs=1e-4)
    assert found.read[0] < whole.read[0]
    assert found.screened + len(found.candidates) == len(whole.candidates)
    assert "random" in found._repr_html_()


def test_filters_at_other_places_give_the_winner_of_the_table(phantom_model, candidates, options, whole):
    """Wherever the line on KL is drawn, what is proven is what the table says."""
    for most in sorted(c.kl for c in whole.candidates)[::4]:
        passing = [c for c in whole.candidates if c.kl <= most * 1.001 and c.addition >= 0]
        settings = {**options, "most_kl": most * 1.001, "random": 1}
        if not passing:
            with pytest.raises(InputError, match="candidates passes"):
                select_direction(phantom_model, candidates, **settings)
            continue
        best = select_direction(phantom_model, candidates, **settings).best
        assert best.direction is min(passing, key=lambda c: c.ablation).direction


def test_rows_under_directions_of_their_own_do_not_mix(any_model):
    """Two candidates and two prompts in one batch, in every family, beside one at a time."""
    width = any_model.structure.width
    generator = torch.Generator().manual_seed(0)
    directions = [Direction(torch.randn(width, generator=generator), layer, "last", "x") for layer in (0, 1)]
    chats = ["Why is the sky blue?", "Hi"]
    scorer = Scorer(any_model, harmful=chats, harmless=chats, tokens=[5, 9], batch_size=4)
    pairs = [(d, n) for d in directions for n in (0, 1)]
    for score, scope in ((scorer.ablation, ablating), (scorer.addition, pushed)):
        found = score(pairs)
        for row, (direction, number) in enumerate(pairs):
            with scope(any_model, direction.vector if scope is ablating else direction):
                alone = log_odds(any_model.next_token_logprobs([chats[number]]), [5, 9])
            assert float(found[row]) == pytest.approx(float(alone), abs=2e-3)
    assert scorer.read == 4 + 8


def test_what_passes_share_is_read_once_and_changes_nothing(phantom_model, candidates, asked, refusal_tokens):
    """Beside whole passes, also where somebody else edits the model."""
    from demur.models import writing

    some = [c for c in candidates if c.norm > 0][::3]
    pairs = [(c, n) for c in some for n in (0, 2, 4)]
    for edits in ({}, {(0, "resid_post"): lambda a: a * 1.1, (1, "resid_pre"): lambda a: a + 0.1}):
        with writing(phantom_model.structure, edits):
            short, whole = (Scorer(phantom_model, **asked, tokens=refusal_tokens, batch_size=8) for _ in range(2))
            assert short._passes.prefix >= 3
            assert sorted(short._passes._streams) == list(range(len(phantom_model.structure) - 1))
            whole._passes.prefix, whole._passes._streams = 0, {}
            for score in ("ablation", "divergence", "addition"):
                assert torch.allclose(getattr(short, score)(pairs), getattr(whole, score)(pairs), atol=2e-4)
            assert short.baseline == pytest.approx(whole.baseline, abs=1e-4)
    assert all("forward" not in vars(block.module) for block in phantom_model.structure.blocks)


def test_log_odds_have_the_bounds_that_proofs_rest_on():
    sure = torch.tensor([[0.0, -1e9], [-1e9, 0.0]])
    found = log_odds(sure, [0])
    assert found[0] > 18
    assert found.abs().max() <= HIGHEST


def test_the_screen_knows_the_slope_of_removal(phantom_model, candidates, asked, refusal_tokens):
    """Beside the change that taking a little of each write to the stream away makes."""
    network = phantom_model.model
    prompts = [phantom_model.encode(p) for p in asked["harmful"]]
    some = [c for c in candidates if c.norm > 0][3:9:2]
    slopes = first_order(phantom_model, prompts, some, refusal_tokens, batch_size=4)
    writers = [network.get_input_embeddings(), *attention_writers(phantom_model)]
    writers += [block.mlp for block in phantom_model.structure.blocks]
    for number, candidate in enumerate(some):
        unit = torch.nn.functional.normalize(candidate.vector, dim=0)
        found = []
        for step in (0.01, -0.01):

            def less(_module, _args, out, step=step, unit=unit):
                write = out[0] if isinstance(out, tuple) else out
                write = write - step * (write @ unit).unsqueeze(-1) * unit
                return (write, *out[1:]) if isinstance(out, tuple) else write

            handles = [writer.register_forward_hook(less) for writer in writers]
            found.append(float(log_odds(phantom_model.next_token_logprobs(asked["harmful"]), refusal_tokens).mean()))
            for handle in handles:
                handle.remove()
        assert float(slopes[number]) == pytest.approx((found[0] - found[1]) / 0.02, rel=0.1, abs=0.02)
    assert all(weight.requires_grad for weight in network.parameters())


def test_no_trace_is_left(phantom_model, candidates, options, asked):
    before = phantom_model.next_token_logprobs(asked["harmless"])
    select_direction(phantom_model, candidates[-3:], **options, effort="screened", keep=1)
    assert torch.equal(phantom_model.next_token_logprobs(asked["harmless"]), before)


def test_without_a_passing_candidate_there_is_no_winner(phantom_model, candidates, options):
    for effort in ("all", "exact", "screened"):
        with pytest.raises(InputError, match="candidates passes"):
            select_direction(phantom_model, candidates[:4], **{**options, "most_kl": 0.0}, effort=effort)


def test_what_cannot_be_chosen_from_is_refused(phantom_model, candidates, options):
    layers = len(phantom_model.structure)
    with pytest.raises(InputError, match=f"last 20% of {layers} layers"):
        select_direction(phantom_model, [c for c in candidates if c.layer >= layers - 1], **{**options, "last": 0.2})
    with pytest.raises(InputError, match="needs candidates"):
        select_direction(phantom_model, [], **options)
    with pytest.raises(InputError, match="effort must be"):
        select_direction(phantom_model, candidates, **options, effort="little")
    with pytest.raises(InputError, match="tokens of the vocabulary"):
        select_direction(phantom_model, candidates, **{**options, "refusal_tokens": []})

"""Cliffs whose plateau, drop and place are known: written by hand, steered into tiny models, planted in the phantom."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from demur.errors import InputError, ModelError  # noqa: E402
from demur.models import writing  # noqa: E402
from demur.states.cliff import measure_cliff, measure_cliffs, rank_cliffs  # noqa: E402
from demur.states.probe import Probe  # noqa: E402
from demur.states.refusal_path import RefusalPath, mean_path, score_paths  # noqa: E402
from demur.states.rollouts import closed_reasoning  # noqa: E402

THOUGHTS = "The quick brown fox jumps over the lazy dog. Because light scatters in the air, first plan it, then rest."


def _path(scores, reasoning, context=4, instruction=3):
    """A path whose reasoning has so many tokens; what is left is closing."""
    size = len(scores)
    start = context + instruction
    segments = {
        "context": range(context),
        "instruction": range(context, start),
        "reasoning": range(start, start + reasoning),
        "closing": range(start + reasoning, size),
    }
    return RefusalPath(torch.tensor(scores), ("x",) * size, {name: part for name, part in segments.items() if part})


def _planted(reasoning=40, high=0.8, low=0.1):
    return _path([0.5] * 7 + [high] * reasoning + [low] * 4, reasoning)


def test_a_written_cliff_is_measured_exactly():
    cliff = measure_cliff(_planted())
    assert cliff.plateau == cliff.highest == pytest.approx(0.8)
    assert cliff.final == pytest.approx(0.1)
    assert cliff.drop == cliff.fall == pytest.approx(0.7)
    assert cliff.location == 7 + 40 - 1
    assert cliff.tokens == 32


def test_a_flat_path_has_no_cliff():
    cliff = measure_cliff(_path([0.6] * 30, 20))
    assert cliff.drop == 0
    assert cliff.location is None
    assert cliff.fall == 0


def test_a_rise_is_a_negative_drop():
    assert measure_cliff(_planted(high=0.1, low=0.8)).drop == pytest.approx(-0.7)


def test_one_high_token_lifts_the_maximum_and_hardly_the_top_tenth():
    scores = [0.5] * 7 + [0.2] * 48 + [0.1] * 4
    scores[20] = 1.0
    path = _path(scores, 48)
    assert measure_cliff(path, plateau="max").drop == pytest.approx(0.9)
    assert measure_cliff(path).plateau == pytest.approx((1.0 + 3 * 0.2) / 4)


def test_what_falls_within_the_margin_is_no_plateau():
    scores = [0.5] * 7 + [0.3] * 32 + [0.9] * 8 + [0.1] * 4
    assert measure_cliff(_path(scores, 40)).plateau == pytest.approx(0.3)
    assert measure_cliff(_path(scores, 40), margin=0).plateau == pytest.approx(0.9)
    short = _path([0.5] * 7 + [0.7] * 6 + [0.1] * 4, 6)
    assert measure_cliff(short).tokens == 3  # half of what there is, not nothing


def test_the_masked_average_keeps_the_plateau_and_padding_with_zeros_does_not():
    paths = [_path([0.8] * 7 + [0.8] * n + [0.1] * 4, n) for n in (10, 20, 40, 80)]
    masked = mean_path(paths)
    assert np.allclose(masked.mean[:-4], 0.8)
    assert np.allclose(masked.mean[-4:], 0.1)
    assert masked.n[0] == 1
    assert masked.n[-1] == 4
    assert masked.offset[-1] == 0
    # one path alone tells nothing of how paths vary
    assert np.isnan(masked.low[masked.n == 1]).all()
    assert not np.isnan(masked.high[masked.n > 1]).any()
    assert len(masked.offset) == 91
    padded = mean_path(paths, padding="zeros")
    assert padded.mean[0] == pytest.approx(0.2)
    assert np.allclose(padded.mean[-4:], 0.1)


def test_the_average_has_intervals_over_families():
    rng = np.random.default_rng(0)
    paths = [_path([float(v)] * 30, 20) for v in rng.uniform(0.2, 0.8, 40)]
    single = mean_path(paths)
    assert (single.low < single.mean).all()
    assert (single.mean < single.high).all()
    # the same forty paths as copies of four: what is copied tells nothing new
    copied = mean_path([paths[i % 4] for i in range(40)], families=[i % 4 for i in range(40)])
    assert copied.high[0] - copied.low[0] > 1.5 * (single.high[0] - single.low[0])


def test_answers_come_after_the_end():
    path = _planted()
    longer = RefusalPath(
        torch.cat([path.scores, torch.full((5,), 0.9)]), path.texts + ("y",) * 5,
        {**path.segments, "answer": range(51, 56)},
    )  # fmt: skip
    assert measure_cliff(longer) == measure_cliff(path)
    assert np.array_equal(mean_path([longer]).mean, mean_path([path]).mean)


def test_ranking_is_stable_and_the_released_one_reads_the_end_alone():
    drop, final = [0.1, 0.5, 0.5, 0.3], [0.2, 0.4, 0.1, 0.1]
    assert rank_cliffs(drop, final) == [1, 2, 3, 0]
    assert rank_cliffs(drop, final, "released") == [2, 3, 0, 1]
    with pytest.raises(InputError, match="drop, released"):
        rank_cliffs(drop, final, "size")


# ------------------------------------------------------------------------------------------------- steered models


def _steering(probe, plan):
    """Puts each token's state where the probe says what `plan` has for it, whatever it was."""
    unit = probe.weight / probe.weight.norm() ** 2

    def write(states):
        wanted = torch.tensor([math.log(p / (1 - p)) for p in plan])
        lacking = wanted - (states[0, : len(plan)] @ probe.weight + probe.bias)
        moved = states.clone()
        moved[0, : len(plan)] += lacking[:, None] * unit
        return moved

    return write


def _probe(width, seed=0, layer=1):
    weight = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    return Probe(weight, 0.3, layer, "last", normed=False)


@pytest.mark.parametrize(
    ("family", "template"), [("llama", "llama3"), ("qwen3", "chatml"), ("gpt2", "llama3"), ("gemma3_text", "strict")]
)
def test_a_steered_cliff_is_found_where_it_was_put(load, family, template):
    model = load(family, template)
    chat = closed_reasoning(model, "How do I bake a cake?", THOUGHTS)
    parts = model.positions(chat)
    size, reasoning = len(parts.token_ids), parts.reasoning
    # at the end of the reasoning, in the closing tokens, and at the very last step
    for place in (reasoning.stop - 1, reasoning.stop, size - 2):
        plan = [0.5] * reasoning.start + [0.8] * (place + 1 - reasoning.start) + [0.1] * (size - place - 1)
        probe = _probe(model.structure.width)
        with writing(model.structure, {(1, "resid_post"): _steering(probe, plan)}):
            path = score_paths(model, [chat], probe)[0]
        assert torch.allclose(path.scores, torch.tensor(plan), atol=1e-3)
        cliff = measure_cliff(path)
        assert cliff.location == place
        assert cliff.plateau == pytest.approx(0.8, abs=1e-3)
        assert cliff.final == pytest.approx(0.1, abs=1e-3)
        assert cliff.drop == pytest.approx(0.7, abs=2e-3)
        assert path.segment(place) == ("reasoning" if place < reasoning.stop else "closing")


def test_controls_do_not_find_the_steered_cliff(llama):
    """Another layer, a random direction, and no steering: none of them shows the drop."""
    chat = closed_reasoning(llama, "How do I bake a cake?", THOUGHTS)
    parts = llama.positions(chat)
    size, last = len(parts.token_ids), parts.reasoning.stop - 1
    plan = [0.5] * parts.reasoning.start + [0.9] * (last + 1 - parts.reasoning.start) + [0.1] * (size - last - 1)
    probe = _probe(32)
    with writing(llama.structure, {(1, "resid_post"): _steering(probe, plan)}):
        controls = [probe.at(0), *(probe.random(seed) for seed in range(10, 14))]
        real = measure_cliff(score_paths(llama, [chat], probe)[0])
        others = [measure_cliff(score_paths(llama, [chat], control)[0]) for control in controls]
    assert real.drop == pytest.approx(0.8, abs=2e-3)
    assert real.location == last
    unsteered = measure_cliff(score_paths(llama, [chat], probe)[0])
    # these read noise: none of them the planted levels
    for other in (*others, unsteered):
        assert (other.plateau, other.final) != (pytest.approx(0.9, abs=0.02), pytest.approx(0.1, abs=0.02))
    below = measure_cliff(score_paths(llama, [chat], probe.at(0))[0])
    assert others[0].drop == pytest.approx(below.drop, abs=1e-5)


def test_segments_are_those_of_the_template(load):
    model = load("qwen3", "chatml")
    path = score_paths(model, [closed_reasoning(model, "Why is it so?", THOUGHTS)], _probe(32))[0]

    def text(name):
        return "".join(path.texts[i] for i in path.segments[name])

    assert text("instruction") == "Why is it so?"
    assert text("template") == "<|im_end|>\n<|im_start|>assistant\n"
    assert text("opening") == "<think>\n"
    # a token that holds the end of the reasoning and the line break counts as reasoning
    assert text("reasoning").strip() == THOUGHTS
    assert text("closing").strip() == "</think>"
    assert list(path.segments) == ["context", "instruction", "template", "opening", "reasoning", "closing"]
    covered = [token for part in path.segments.values() for token in part]
    assert covered == list(range(len(path.scores)))
    assert "closing" in path._repr_html_()


def test_batches_and_padding_do_not_change_scores(any_model):
    if any_model.template.markup is None:
        pytest.skip("the family's test template has no reasoning markup")
    chats = [closed_reasoning(any_model, f"Number {n}?", "so it is. " * n) for n in (1, 9, 4)]
    probe = _probe(any_model.structure.width)
    together = score_paths(any_model, chats, probe, batch_size=3)
    for chat, path in zip(chats, together, strict=True):
        alone = score_paths(any_model, [chat], probe)[0]
        assert alone.texts == path.texts
        assert torch.allclose(alone.scores, path.scores, atol=1e-4)


def test_scores_are_those_of_a_plain_forward_pass(llama):
    chat = closed_reasoning(llama, "How do I bake a cake?", THOUGHTS)
    probe = Probe(torch.randn(32, generator=torch.Generator().manual_seed(4)), -0.2, 2, "last")
    with torch.no_grad():
        ids = torch.tensor([llama.encode(chat)])
        normed = llama.model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
    by_hand = (normed @ probe.weight + probe.bias).sigmoid()
    assert torch.allclose(score_paths(llama, [chat], probe)[0].scores, by_hand, atol=1e-5)


def test_over_the_prompt_the_plateau_is_the_instruction(llama):
    chat = "How do I bake a cake without sugar in the air?"
    parts = llama.positions(chat)
    probe = _probe(32)
    plan = [0.5] * parts.instruction.start + [0.7] * len(parts.instruction) + [0.2] * len(parts.post_instruction)
    with writing(llama.structure, {(1, "resid_post"): _steering(probe, plan)}):
        cliff = measure_cliff(score_paths(llama, [chat], probe)[0], over="prompt")
    assert cliff.drop == pytest.approx(0.5, abs=2e-3)
    assert cliff.location == parts.last_instruction


def test_many_cliffs_have_intervals_a_null_and_a_picture(llama):
    chats = [closed_reasoning(llama, f"How do I bake cake {n}?", THOUGHTS) for n in range(6)]
    found = measure_cliffs(llama, chats, _probe(32), families=[n // 2 for n in range(6)], random=2)
    assert found.drop.value == pytest.approx(np.mean([one.drop for one in found.cliffs]))
    assert found.drop.low <= found.drop.value <= found.drop.high
    assert len(found.null) == 2
    assert sum(found.where.values()) == sum(one.location is not None for one in found.cliffs)
    assert found.top(0.34) == rank_cliffs([c.drop for c in found.cliffs], [c.final for c in found.cliffs])[:2]
    assert "drop" in found._repr_html_()
    with pytest.raises(InputError, match="fraction"):
        found.top(0)


def test_two_sets_are_compared_beside_the_same_controls(llama):
    """The difference of the mean drops; a control that is the probe itself shows the whole of it."""
    probe, other = _probe(32), _probe(32, seed=5)
    sets = [[closed_reasoning(llama, f"How do I bake {what} {n}?", THOUGHTS) for n in range(8)] for what in "ab"]
    one, two = (measure_cliffs(llama, chats, probe, random=1, shuffled=[probe, other]) for chats in sets)
    assert one.shuffled[0] == one.drop.value
    found = one.above(two)
    assert found.difference.value == pytest.approx(one.drop.value - two.drop.value)
    assert found.shuffled[0] == pytest.approx(found.difference.value)
    assert found.null == pytest.approx([one.null[0] - two.null[0]])
    assert found.difference.low <= found.difference.value <= found.difference.high
    with pytest.raises(InputError, match="2 and 0 probes of shuffled labels"):
        one.above(measure_cliffs(llama, sets[1], probe, random=1))
    with pytest.raises(InputError, match="1 and 0 random directions"):
        one.above(measure_cliffs(llama, sets[1], probe, random=0))


def test_what_cannot_be_read_says_so(llama, load, make_tokenizer):
    from demur.models import LocalModel

    probe = _probe(32)
    with pytest.raises(InputError, match="no chats"):
        score_paths(llama, [], probe)
    with pytest.raises(InputError, match=r"chat 1 has \d+ tokens and the context"):
        score_paths(llama, ["x?", "step " * 300], probe)
    with pytest.raises(InputError, match="32 wide"):
        score_paths(llama, ["x?"], _probe(16))
    with pytest.raises(ModelError, match="no layer 7"):
        score_paths(llama, ["x?"], _probe(32, layer=7))
    with pytest.raises(InputError, match="chat 0: the chat has no reasoning"):
        measure_cliffs(llama, ["x?", "y?"], probe, random=0)
    with pytest.raises(InputError, match="at least two clusters"):
        measure_cliffs(llama, [closed_reasoning(llama, "x?", THOUGHTS)], probe, random=0)
    with pytest.raises(InputError, match="top, max"):
        measure_cliff(_planted(), plateau="mean")
    with pytest.raises(InputError, match="no paths"):
        mean_path([])
    with pytest.raises(InputError, match="no reasoning to close"):
        closed_reasoning(llama, "x?", " ")
    with pytest.raises(InputError, match="already"):
        closed_reasoning(llama, closed_reasoning(llama, "x?", THOUGHTS), THOUGHTS)
    bare = LocalModel(llama.model, make_tokenizer("{% for m in messages %}{{ m['content'] }}{% endfor %}"), name="bare")
    with pytest.raises(InputError, match="no template tokens"):
        measure_cliff(score_paths(bare, ["How do I bake a cake?"], probe)[0], over="prompt")


def test_a_model_without_reasoning_markup_is_told_apart(llama, monkeypatch):
    from demur.models import LocalModel

    class Silent:
        """The tokenizer without its reasoning tags."""

        def __getattr__(self, name):
            return {} if name == "added_tokens_decoder" else getattr(llama.tokenizer, name)

    silent = LocalModel(llama.model, Silent(), name="silent")
    with pytest.raises(ModelError, match="over='prompt'"):
        closed_reasoning(silent, "x?", THOUGHTS)


def test_broken_weights_are_an_error_and_no_score(build, make_tokenizer):
    from demur.models import LocalModel

    broken = LocalModel(build("llama"), make_tokenizer(), name="broken")
    assert len(broken.structure) == 3
    with torch.no_grad():
        broken.model.model.layers[0].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        score_paths(broken, ["x?"], _probe(32))

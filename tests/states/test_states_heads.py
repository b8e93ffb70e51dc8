"""Attention heads: planted ones are found exactly, in every family; random sets and rescaling are what they say."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from phantom_states import phantom_model, refusal_tokens  # noqa: E402, F401 - fixtures

from demur import phantom  # noqa: E402
from demur.errors import InputError, ModelError  # noqa: E402
from demur.models import LocalModel, Sampling, reading  # noqa: E402
from demur.states.head_attribution import (  # noqa: E402
    HeadScores,
    ablate_each,
    agreement,
    along,
    odds_of_refusal,
    project_heads,
)
from demur.states.head_sets import compare_head_set  # noqa: E402
from demur.states.heads import Head, heads_of, mean_outputs, scaling_heads  # noqa: E402
from demur.states.interventions import attention_writers  # noqa: E402

CHATS = ["Why is the sky blue?", "Hi", "Tell me how to kill a process that hangs.", "How do I bake a cake?"]
PLANTED = 5.0
FAMILIES = ["llama", "gpt2", "qwen3", "gemma3_text", "gpt_oss"]


def logits(model, chats=CHATS):
    return model.next_token_logprobs(chats)


def weight_slice(model, layer, head):
    """The part of the output projection that one head is written through, (width, head size), as a view."""
    site = model.structure.attention(layer)
    weight = site.projection.weight
    # GPT-2 keeps its layers transposed
    weight = weight.T if type(site.projection).__name__ == "Conv1D" else weight
    return weight[:, head * site.head_size : (head + 1) * site.head_size]


@pytest.fixture(params=FAMILIES)
def planted(request, build, make_tokenizer):
    """A random model whose heads write nothing along `unit`, but for two: 1.2 writes against it and 2.1 for it."""
    model = LocalModel(build(request.param, seed=3), make_tokenizer(), name=request.param)
    width = model.structure.width
    unit = torch.nn.functional.normalize(torch.randn(width, generator=torch.Generator().manual_seed(5)), dim=0)
    for layer, head in heads_of(model):
        part = weight_slice(model, layer, head).detach()
        part -= torch.outer(unit, unit @ part)
    for (layer, head), sign in ((Head(1, 2), -1.0), (Head(2, 1), 1.0)):
        # reads the head's own mean output, so the mean over chats is what was planted; later layers see earlier ones
        mean = mean_outputs(model, CHATS)[layer, head]
        weight_slice(model, layer, head).detach().add_(torch.outer(unit, sign * PLANTED * mean / mean.norm() ** 2))
    return model, unit


@pytest.mark.parametrize("family", FAMILIES)
def test_the_heads_of_a_layer_add_up_to_what_attention_writes(family, load):
    model = load(family)
    unit = torch.nn.functional.normalize(torch.randn(model.structure.width), dim=0)
    written = {}

    def keep(number):
        return lambda _m, _a, out: written.update({number: (out[0] if isinstance(out, tuple) else out)[0, -1]})

    handles = [writer.register_forward_hook(keep(n)) for n, writer in enumerate(attention_writers(model))]
    model.next_token_logprobs(CHATS[:1])
    for handle in handles:
        handle.remove()
    found = project_heads(model, CHATS[:1], unit)
    for layer in range(len(model.structure)):
        total = float(sum(found.values[0, n] for n, head in enumerate(found.heads) if head.layer == layer))
        bias = getattr(model.structure.attention(layer).projection, "bias", None)
        of_bias = 0.0 if bias is None else float(bias.detach() @ unit)
        assert total + of_bias == pytest.approx(float(written[layer] @ unit), abs=2e-4)


def test_planted_heads_are_ranked_exactly(planted):
    model, unit = planted
    found = project_heads(model, CHATS, unit)
    order = found.means.argsort().tolist()
    if model.name != "gemma3_text":  # the norm after attention turns what the other heads write, a little, into unit
        rest = [n for n in range(len(found.heads)) if found.heads[n] not in (Head(1, 2), Head(2, 1))]
        assert found.values[:, rest].abs().max() < 1e-4
        assert [float(found.means[n]) for n in (order[0], order[-1])] == pytest.approx([-PLANTED, PLANTED], rel=1e-3)
    assert (found.heads[order[0]], found.heads[order[-1]]) == (Head(1, 2), Head(2, 1))
    assert found.top(0.01) == (Head(1, 2),)
    assert found.top(0.01, side="for") == (Head(2, 1),)


def test_switching_planted_heads_off_says_the_same(planted):
    """Read along the planted direction after the block itself, where nothing has passed it on yet."""
    model, unit = planted
    if model.name == "gemma3_text":
        pytest.skip("the norm after attention rescales what the other heads write, so a head's effect is not its write")
    for layer, head in (Head(1, 2), Head(2, 1)):
        measure = along(unit, layer=layer)
        heads = [h for h in heads_of(model) if h.layer == layer]
        ablated = ablate_each(model, CHATS, measure, heads=heads, rescale="none")
        strongest = int(ablated.means.abs().argmax())
        assert ablated.heads[strongest] == (layer, head)
        projected = project_heads(model, CHATS, unit)
        own = projected.values[:, projected.heads.index(Head(layer, head))]
        # the block's MLP reads the change too, so the signs agree and the sizes need not
        assert (own.mean() * ablated.means[strongest]) > 0


def test_a_planted_set_beats_random_sets_and_others_do_not(planted):
    model, unit = planted
    if model.name == "gemma3_text":
        pytest.skip("see above")
    measure = along(unit, layer=1)
    against = compare_head_set(model, CHATS, measure, [Head(1, 2)], rescale="none")
    assert against.every
    assert len(against.random) == len(heads_of(model)) - 1
    assert against.found
    assert against.percentile == 1.0
    assert against.p == pytest.approx(1 / len(heads_of(model)))
    assert "without 1 of 12 heads" in str(against)
    # the same head does not write for refusal, and a head after the place of reading does nothing at all
    for heads, side in (([Head(1, 2)], "for"), ([Head(2, 0)], "against")):
        other = compare_head_set(model, CHATS, measure, heads, side=side, rescale="none")
        assert not other.found
        assert "no small set does it" in str(other)
        assert "no small set does it" in other._repr_html_()


def test_on_the_phantom_a_set_is_found_or_the_result_says_that_none_is(phantom_model, refusal_tokens):
    asked = phantom.prompts(per_condition=4, kinds=["direct"], seed=3)
    harmful = [p for p in asked if p.expect == "decline"]
    choosing, testing = harmful[::2], harmful[1::2]
    measure = odds_of_refusal(refusal_tokens)
    each = ablate_each(phantom_model, choosing, measure)
    random = 20
    for side in ("against", "for"):
        test = compare_head_set(phantom_model, testing, measure, each.top(0.1, side=side), side=side, random=random)
        assert test.found == (test.percentile >= 0.95 and test.change.low * test.change.high > 0)
        assert ("no small set does it" in str(test)) is not test.found
        assert len(test.random) == random
        assert len(set(test.random)) > random / 2
    nothing = compare_head_set(
        phantom_model, testing, measure, each.top(0.1, side="for"), side="against", random=random
    )
    assert not nothing.found


def test_ranks_agree_with_themselves_and_not_with_noise(load):
    model = load("llama")
    heads = heads_of(model)
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(20, len(heads), generator=generator) * 0.1 + torch.arange(len(heads))
    one = HeadScores(heads, values, "projection")
    same = agreement(one, HeadScores(heads, values * 3 + 1, "ablation"))
    assert (same.value, same.n) == (pytest.approx(1.0), 20)
    opposite = agreement(one, HeadScores(heads, -values, "ablation"))
    assert opposite.high == pytest.approx(-1.0)
    noise = agreement(one, HeadScores(heads, torch.randn(20, len(heads), generator=generator), "ablation"))
    assert noise.low < 0 < noise.high
    with pytest.raises(InputError, match="same value"):
        agreement(one, HeadScores(heads, torch.zeros(20, len(heads)), "ablation"))
    with pytest.raises(InputError, match="same 3 heads"):
        agreement(one, HeadScores(heads[:2], values[:, :2], "ablation"))
    assert "0.3" in one._repr_html_()


def test_no_head_changes_nothing_and_no_trace_is_left(any_model):
    before = logits(any_model)
    with scaling_heads(any_model, []):
        assert torch.equal(logits(any_model), before)
    with scaling_heads(any_model, [Head(0, 1)], factor=1.0, rescale="none"):
        torch.testing.assert_close(logits(any_model), before)
    with scaling_heads(any_model, [Head(0, 1)]):
        assert not torch.allclose(logits(any_model), before, atol=1e-3)
    assert torch.equal(logits(any_model), before)


def test_switching_every_head_off_leaves_zeros(llama):
    seen = {}
    for rescale in ("position", "released", "none"):
        with (
            scaling_heads(llama, heads_of(llama), rescale=rescale),
            reading(llama.structure, [(1, "attn_heads")], lambda site, a: seen.update({site: a.clone()})),
        ):
            assert torch.isfinite(logits(llama)).all()
        assert not seen[1, "attn_heads"].any()


def kept(model, rescale, chats=CHATS):
    """Head outputs of layer 1 without and with one head off."""
    found = []
    for heads in ([], [Head(1, 0)]):
        with (
            scaling_heads(model, heads, rescale=rescale),
            reading(model.structure, [(1, "attn_heads")], lambda _site, a: found.append(a.clone())),
        ):
            logits(model, chats)
    return found


def test_lengths_are_kept_at_each_token_or_over_the_batch(llama):
    before, after = kept(llama, "position")
    assert not after[..., 0, :].any()
    torch.testing.assert_close(after.flatten(-2).norm(dim=-1), before.flatten(-2).norm(dim=-1))
    before, after = kept(llama, "released")
    torch.testing.assert_close(after.norm(), before.norm())
    assert not torch.allclose(after.flatten(-2).norm(dim=-1), before.flatten(-2).norm(dim=-1))
    before, after = kept(llama, "none")
    torch.testing.assert_close(after[..., 1:, :], before[..., 1:, :])


def test_a_result_depends_on_the_batch_as_released_and_not_by_default(llama):
    for rescale, same in (("position", True), ("none", True), ("released", False)):
        with scaling_heads(llama, [Head(1, 0)], rescale=rescale):
            together, alone = logits(llama), torch.cat([logits(llama, [chat]) for chat in CHATS])
        assert torch.allclose(together, alone, atol=1e-4) is same


def test_generation_sees_the_same_model_as_a_full_pass(any_model):
    with scaling_heads(any_model, [Head(0, 1), Head(2, 3)]):
        answer = any_model.generate(CHATS[:1], sampling=Sampling(max_tokens=4))[0]
        ids = [*any_model.encode(CHATS[0]), *answer.token_ids]
        full = any_model.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    for n, (token, logprob) in enumerate(zip(answer.token_ids, answer.logprobs, strict=True)):
        at = len(ids) - len(answer.token_ids) + n - 1
        assert float(full[at, token].detach()) == pytest.approx(logprob, abs=1e-3)


def test_mean_ablation_puts_the_mean_in_place(llama):
    means = mean_outputs(llama, CHATS)
    seen = {}
    with (
        scaling_heads(llama, [Head(1, 3)], means=means, rescale="none"),
        reading(llama.structure, [(1, "attn_heads")], lambda _site, a: seen.update(now=a.clone())),
    ):
        logits(llama)
    torch.testing.assert_close(seen["now"][0, -1, 3], means[Head(1, 3)])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda m: scaling_heads(m, [(0, 99)]), "0.99 is named twice or does not exist"),
        (lambda m: scaling_heads(m, [(0, 1), (0, 1)]), "named twice"),
        (lambda m: scaling_heads(m, [(0, 1)], rescale="always"), "rescale must be position, released, none"),
        (lambda m: scaling_heads(m, [(0, 1)], means={(0, 1): torch.ones(3)}), "0.1 has no mean of"),
    ],
)
def test_heads_that_are_not_there_are_refused(llama, wrong, message):
    with pytest.raises(InputError, match=message), wrong(llama):
        pass


def test_bad_directions_measures_and_sets_are_refused(llama):
    for vector in (torch.zeros(llama.structure.width), torch.ones(3)):
        with pytest.raises(InputError, match="length above 0"):
            project_heads(llama, CHATS, vector)
    with pytest.raises(InputError, match="no position"):
        project_heads(llama, CHATS, torch.ones(llama.structure.width), position="last_answer")
    for bad in (lambda _m, _c: torch.ones(1), lambda _m, c: torch.full((len(c),), torch.nan)):
        with pytest.raises(InputError, match="one finite number a chat"):
            ablate_each(llama, CHATS, bad)
    measure = along(torch.ones(llama.structure.width), layer=1)
    for heads in ([], heads_of(llama)):
        with pytest.raises(InputError, match="some of the 12 heads but not all"):
            compare_head_set(llama, CHATS, measure, heads)
    with pytest.raises(InputError, match="random at least 20"):
        compare_head_set(llama, CHATS, measure, [Head(0, 0)], random=5)
    with pytest.raises(InputError, match="fraction above 0"):
        HeadScores(heads_of(llama), torch.ones(2, 12), "projection").top(0)


def test_a_layer_norm_after_attention_is_refused(build, make_tokenizer):
    model = LocalModel(build("gemma3_text"), make_tokenizer(), name="odd")
    block = model.model.get_decoder().layers[1]
    block.post_attention_layernorm = torch.nn.LayerNorm(model.structure.width)
    with pytest.raises(ModelError, match="LayerNorm stands between"):
        project_heads(model, CHATS, torch.ones(model.structure.width))

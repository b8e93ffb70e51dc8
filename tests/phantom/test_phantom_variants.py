"""Variants: a part of what the base edition plants, in the shape of other families, loaded like any checkpoint."""

from __future__ import annotations

import pytest
import torch

from demur.errors import InputError
from demur.phantom import card, editions, load, training, variants
from demur.phantom.specification import default

FAMILIES = {"qwen3": "Qwen3ForCausalLM", "gemma3": "Gemma3ForCausalLM", "gpt_oss": "GptOssForCausalLM"}
INSTALLED = [name for name in FAMILIES if name in editions.names()]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module", params=INSTALLED)
def variant(request):
    return request.param, load(f"phantom:{request.param}")


def test_a_variant_plants_a_part_of_what_the_base_edition_plants():
    base = default()
    assert variants.names() == list(FAMILIES)
    for name in FAMILIES:
        spec = variants.specification(name)
        assert spec.edition == name
        assert 0 < len(spec.category) < len(base.category)
        assert all(c in base.category for c in spec.category)
        assert all(w in base.wrapper for w in spec.wrapper)
        assert spec.language.frames == base.language.frames[: len(spec.language.frames)]
        assert (spec.judgement, spec.reasoning, spec.answers) == (base.judgement, base.reasoning, base.answers)
        assert spec.scene == {}
    with pytest.raises(InputError, match="no variant 'none'; there are: qwen3"):
        variants.specification("none")


def test_a_variant_that_keeps_what_is_not_there_is_an_error():
    base = default()
    with pytest.raises(InputError, match="does not have"):
        variants.specification("qwen3", base.model_copy(update={"wrapper": ()}))


def test_the_shape_is_the_familys(tokenizer):
    made = {
        name: training.make_model(
            variants.specification(name), tokenizer, seed=0, architecture=variants.architecture(name)
        )
        for name in FAMILIES
    }
    assert {name: type(model).__name__ for name, model in made.items()} == FAMILIES
    assert all(model.config.vocab_size == len(tokenizer) for model in made.values())
    assert all(model.get_input_embeddings().weight is model.get_output_embeddings().weight for model in made.values())
    assert hasattr(made["qwen3"].model.layers[0].self_attn, "q_norm")
    gemma = made["gemma3"]
    assert hasattr(gemma.model.layers[0], "post_feedforward_layernorm")
    assert set(gemma.config.layer_types) == {"sliding_attention", "full_attention"}
    assert float(gemma.model.embed_tokens.embed_scale) == pytest.approx(gemma.config.hidden_size**0.5)
    oss = made["gpt_oss"]
    assert set(oss.config.layer_types) == {"sliding_attention", "full_attention"}
    assert oss.model.layers[0].self_attn.sinks.shape == (oss.config.num_attention_heads,)
    assert 1 < oss.config.num_experts_per_tok < oss.config.num_local_experts


@pytest.mark.parametrize("name", FAMILIES)
def test_the_script_trains_saves_and_loads_each_family(name, tmp_path, tokenizer, capfd):
    from transformers import AutoModelForCausalLM

    spec = variants.specification(name)
    first = spec.category[0]
    few = {part: getattr(first, part)[:3] for part in ("promote", "hinder", "bad", "good")}
    tiny = spec.model_copy(
        update={
            "category": (first.model_copy(update=few),),
            "plain": spec.plain.model_copy(update={"objects": spec.plain.objects[:1]}),
        }
    )
    out = training.train(
        tmp_path / name, specification=tiny, steps=2, tok=tokenizer, architecture=variants.architecture(name)
    )
    made = AutoModelForCausalLM.from_pretrained(out)
    assert type(made).__name__ == FAMILIES[name]
    assert made.generation_config.do_sample is True
    # trained in float32, kept in half precision, finite in it
    assert torch.isfinite(made(torch.tensor([[0, 50, 60]])).logits).all()


def test_an_installed_variant_is_an_ordinary_small_checkpoint(variant, tokenizer):
    name, model = variant
    folder = editions.path(name)
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 2_000_000
    assert type(model.model).__name__ == FAMILIES[name]
    assert model.model.dtype == torch.float32
    assert model.tokenizer.get_vocab() == tokenizer.get_vocab()
    assert model.tokenizer.chat_template == tokenizer.chat_template


def test_an_installed_variants_card_is_whole_and_keeps_its_promise(variant, tokenizer):
    name, _ = variant
    spec = variants.specification(name)
    found = card.read(editions.path(name))
    assert (found.edition, found.specification) == (name, card.origin(spec))
    planted = card.planted(tokenizer, spec)
    assert [c.name for c in found.conditions] == list(planted)
    assert {c.name: (c.planted, c.n_train) for c in found.conditions} == {
        condition: (pytest.approx(p, abs=1e-5), n) for condition, (p, n) in planted.items()
    }
    wrong = [(c.name, c.planted, c.measured) for c in found.conditions if c.error > 0.05]
    assert found.within(0.05) >= 0.95, wrong


def test_an_installed_variant_measured_anew_agrees_with_its_card(variant, tokenizer):
    name, model = variant
    shipped = {c.name: c for c in card.read(editions.path(name)).conditions}
    names = [f"{kind}/theft/{group}" for kind in ("direct", "judgement", "note") for group in ("harmful", "look_alike")]
    for again in card.measure(
        model.model, tokenizer, specification=variants.specification(name), names=names, per_condition=60
    ):
        half = (again.high - again.low) / 2
        assert abs(again.measured - shipped[again.name].measured) <= 1.5 * half + 0.01, again.name

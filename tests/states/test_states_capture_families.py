"""Capture on every family: equal to an independent path, invisible afterwards, blind to batches and padding."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

from demur.errors import ModelError
from demur.models import LocalModel
from demur.states import Site, capture

CHATS = [
    "Hi",
    "Why is the sky blue?",
    "Tell me how to kill a process that hangs on my machine.",
    "Rest.",
    "Bake a cake",
]
POINTS = ("resid_pre", "resid_post", "attn_heads")

# Every family of transformers that builds small, by its configuration.
READ = """
AXK1 AXK2 Afmoe Apertus Arcee AriaText Beam BioGpt BitNet Bloom CodeGen Cohere Cohere2 Cohere2Moe Cwm
DeepseekV2 DeepseekV3 DeepseekV32 DiffLlama Doge Exaone4 ExaoneMoe Falcon FalconH1 FlexOlmo Flint GPT2
GPTBigCode GPTJ GPTNeoX GPTNeoXJapanese Gemma Gemma2 Gemma3Text Gemma4Text Gemma4UnifiedText Glm Glm4
Glm4Moe Glm4MoeLite GlmMoeDsa GptOss Granite GraniteMoe GraniteMoeSWA GraniteMoeShared GraniteSWA HYV3
Helium HunYuanDenseV1 HunYuanMoEV1 HyperCLOVAX IQuestCoder InklingText InternLM3 Jais2 Kolibri1 Laguna Lfm2
Lfm3 Llama Llama4Text Mellum MiMoV2Flash MiniCPM3 MiniMax MiniMaxM2 MiniMaxM3VLText Ministral Ministral3
Mistral Mixtral ModernBertDecoder Mpt NanoChat Nemotron NemotronH OPT Olmo Olmo2 Olmo3 OlmoHybrid Olmoe
Persimmon Phi Phi3 Phimoe Qwen2 Qwen2Moe Qwen3 Qwen3Moe Qwen3Next Qwen3_5MoeText Qwen3_5Text RecurrentGemma
SeedOss SmolLM3 SolarOpen StableLm Starcoder2 VaultGemma XGLM Youtu
"""
REFUSED = {
    "CpmAnt": "no softmax attention with an output projection",
    "DeepseekV4": "more than one residual stream",
    "FalconMamba": "no softmax attention",
    "HYV4": "more than one residual stream",
    "Inkling2Text": "several streams that are mixed at the end",
    "JetMoe": "no output projection called",
    "Mamba": "no softmax attention",
    "Rwkv": "no output projection called",
}


@pytest.fixture(scope="session")
def build_family(backend):
    """Builds a small random model of any family by the name of its configuration, without `Config`."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    # by its path: test folders are no packages
    spec = spec_from_file_location("small_families", Path(__file__).parents[1] / "models/test_models_families.py")
    small = module_from_spec(spec)
    spec.loader.exec_module(small)

    def make(name):
        for config_class, listed in MODEL_FOR_CAUSAL_LM_MAPPING.items():
            if config_class.__name__.removesuffix("Config") == name:
                model_class = listed[0] if isinstance(listed, tuple) else listed
                try:
                    return small.build_small(config_class, model_class, backend.get_vocab_size())
                except small.NotSmallError as error:
                    pytest.skip(f"{name} does not build small: {error}")
        pytest.skip(f"this version of transformers has no {name}")

    return make


def all_sites(structure):
    return [
        Site(block.index, point)
        for block in structure.blocks
        for point in POINTS
        if point != "attn_heads" or block.attention is not None
    ]


def close(found, expected):
    """Equal up to float32 rounding, measured by the spread of the states."""
    return (found - expected).abs().max() <= 1e-4 * max(expected.std().item(), 1e-6)


def hooks(network):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def independent(model, ids):
    """What the model itself says about its states, and what plain hooks of torch see."""
    structure, seen = model.structure, {}

    def keep(key, *, given=False):
        def hook(_module, args, kwargs, output):
            value = (args or tuple(kwargs.values()))[0] if given else output
            seen[key] = value[0] if isinstance(value, (tuple, list)) else value

        return hook

    handles = []
    for block in structure.blocks:
        handles.append(block.module.register_forward_hook(keep((block.index, "out")), with_kwargs=True))
        if block.attention is not None:
            owner = block.module.get_submodule(block.attention.path.rpartition(".")[0])
            handles.append(owner.register_forward_hook(keep((block.index, "attention")), with_kwargs=True))
            projection = block.attention.projection
            handles.append(projection.register_forward_hook(keep((block.index, "projection")), with_kwargs=True))
    try:
        with torch.no_grad():
            output = model.model(
                input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, output_hidden_states=True
            )
    finally:
        for handle in handles:
            handle.remove()
    states = getattr(output, "hidden_states", None)
    if states is None or len(states) != len(structure) + 1 or any(state is None for state in states):
        states = None  # a family that does not record them
    return states, seen


def check(model):
    """The facts about capture on one model; returns those that do not hold."""
    structure, network = model.structure, model.model
    sites, chat = all_sites(structure), "Why is the sky blue?"
    ids = torch.tensor([model.encode(chat)])
    with torch.no_grad():
        before, count = network(input_ids=ids, use_cache=False).logits, hooks(network)
        found = capture(model, [chat], sites=sites, positions=list(range(ids.shape[1])))
        after, left = network(input_ids=ids, use_cache=False).logits, hooks(network)
    states, seen = independent(model, ids)
    facts = {
        "no hook stays behind": left == count,
        "logits stay as they are": torch.equal(before, after),
        "the model records its states": states is not None,
        **same_residual_stream(structure, found, states, seen),
        **same_heads(structure, found, seen),
        **same_in_any_batch(model, sites),
    }
    return [fact for fact, holds in facts.items() if not holds]


def same_residual_stream(structure, found, states, seen):
    facts, last = {}, len(structure) - 1
    for layer in range(len(structure)):
        pre, post = found.states((layer, "resid_pre")), found.states((layer, "resid_post"))
        facts[f"resid_post {layer} is what the block returns"] = close(post, seen[layer, "out"])
        if states is not None:
            # the last of the model's own states is a normed one
            after = post if layer < last or structure.norm is None else structure.norm(post).detach()
            facts[f"resid_pre {layer} is in output_hidden_states"] = close(pre, states[layer])
            facts[f"resid_post {layer} is in output_hidden_states"] = close(after, states[layer + 1])
    return facts


def same_heads(structure, found, seen):
    facts = {}
    for block in structure.blocks:
        if block.attention is None:
            continue
        with torch.no_grad():
            written = block.attention.projection(found.states((block.index, "attn_heads")))
        written = written[0] if isinstance(written, tuple) else written
        # a few families do more to the projection's output before attention returns it
        outputs = [seen[block.index, key] for key in ("attention", "projection") if (block.index, key) in seen]
        facts[f"the heads of layer {block.index} give what attention writes"] = any(
            output.shape == written.shape and close(written, output) for output in outputs
        )
    return facts


def same_in_any_batch(model, sites):
    positions = ["last_instruction", "post_instruction:*", "last"]
    alone = capture(model, CHATS, sites=sites, positions=positions, batch_size=1)
    together = capture(model, CHATS, sites=sites, positions=positions, batch_size=5)
    turned = capture(model, CHATS[::-1], sites=sites, positions=positions, batch_size=3)
    facts = {}
    for site in sites:
        facts[f"{site} is the same in any batch"] = close(together.states(site), alone.states(site))
        facts[f"{site} is the same in any order"] = close(turned.states(site).flip(0), alone.states(site))
    return facts


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "gemma3_text", "gpt_oss", "falcon", "bloom"])
def test_capture_on_a_family(family, load):
    assert check(load(family)) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning")  # of the families' own code
@pytest.mark.parametrize("family", READ.split())
def test_capture_on_every_family(family, build_family, make_tokenizer):
    assert check(LocalModel(build_family(family), make_tokenizer(), name=family)) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning")
@pytest.mark.parametrize(("family", "reason"), REFUSED.items())
def test_a_family_without_one_residual_stream_is_refused(family, reason, build_family, make_tokenizer):
    model = LocalModel(build_family(family), make_tokenizer(), name=family)
    with pytest.raises(ModelError, match=reason):
        capture(model, CHATS, positions=["last"])


def test_a_model_without_attention_is_refused(make_tokenizer, backend):
    import transformers

    config = transformers.MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=600, state_size=4)
    model = LocalModel(transformers.MambaForCausalLM(config).eval(), make_tokenizer(), name="mamba")
    with pytest.raises(ModelError, match="no softmax attention"):
        capture(model, CHATS, positions=["last"])

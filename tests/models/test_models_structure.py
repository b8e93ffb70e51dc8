"""Facts about what structure discovery finds, and what it refuses."""

from __future__ import annotations

import pytest
import torch
import transformers as t

from demur.errors import ModelError
from demur.models import discover

EXPECTED = {
    "llama": ("model.layers", "self_attn.o_proj", 8, "model.norm", False),
    "gpt2": ("transformer.h", "attn.c_proj", 8, "transformer.ln_f", False),
    # the projection is wider than the stream: 4 heads of 16 in a model of width 32
    "qwen3": ("model.layers", "self_attn.o_proj", 16, "model.norm", False),
    "gemma3_text": ("model.layers", "self_attn.o_proj", 8, "model.norm", False),
    "gpt_oss": ("model.layers", "self_attn.o_proj", 8, "model.norm", False),
    "falcon": ("transformer.h", "self_attention.dense", 8, "transformer.ln_f", True),
    "bloom": ("transformer.h", "self_attention.dense", 8, "transformer.ln_f", True),
}


@pytest.mark.parametrize("family", EXPECTED)
def test_what_is_found(load, family):
    model = load(family)
    found, (layers, projection, size, norm, is_tuple) = model.structure, EXPECTED[family]
    assert (found.blocks_path, found.norm_path, found.width, len(found)) == (layers, norm, 32, 3)
    assert found.norm is model.model.get_submodule(norm)
    assert found.unembedding is model.model.get_output_embeddings()
    for block in found.blocks:
        assert (block.attention.path, block.attention.heads, block.attention.head_size) == (projection, 4, size)
        assert block.returns_tuple is is_tuple
        assert block.mlp is not None
    assert found.block(-1) is found.blocks[2]


def test_a_hybrid_model_is_read_layer_by_layer(load):
    found = load("qwen3_next").structure
    assert [block.attention.linear for block in found.blocks] == [True, True, False]
    assert [block.attention.head_size for block in found.blocks] == [8, 8, 16]
    assert "layers 0-1" in found.describe()["attention output"]


def test_layers_without_attention_are_told_apart():
    config = t.Lfm2Config(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=99,
        layer_types=["conv", "full_attention", "conv"],
    )
    found = discover(t.AutoModelForCausalLM.from_config(config).eval())
    assert [block.attention is not None for block in found.blocks] == [False, True, False]
    assert found.norm_path == "model.embedding_norm"
    with pytest.raises(ModelError, match=r"layers that have: 1$"):
        found.attention(0)


def test_a_block_without_an_mlp_module(build):
    config = t.OPTConfig(
        hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=99, word_embed_proj_dim=32
    )
    found = discover(t.AutoModelForCausalLM.from_config(config).eval())
    assert all(block.mlp is None for block in found.blocks)
    assert found.describe()["mlp"] == "not a module of its own"


def test_several_residual_streams_are_refused():
    config = t.Gemma3nTextConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        vocab_size=99,
        vocab_size_per_layer_input=99,
        hidden_size_per_layer_input=8,
        laurel_rank=4,
        num_kv_shared_layers=0,
        layer_types=["full_attention", "full_attention"],
        activation_sparsity_pattern=[0.0, 0.0],
    )
    model = t.AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(ModelError, match="residual stream"):
        discover(model)


def test_a_state_space_model_is_refused():
    config = t.Mamba2Config(
        hidden_size=32, num_hidden_layers=2, num_heads=4, head_dim=16, expand=2, state_size=8, n_groups=1, vocab_size=99
    )
    model = t.AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(ModelError, match="no softmax attention"):
        discover(model)


def test_a_text_model_without_a_head_is_refused(build):
    with pytest.raises(ModelError, match="head"):
        discover(build("llama").model)


def test_discovery_leaves_no_trace(build):
    model = build("llama")
    ids = torch.tensor([[0, 5, 9]])
    with torch.no_grad():
        before = model(ids).logits
        discover(model)
        after = model(ids).logits
    assert torch.equal(before, after)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_describe_names_what_doctor_prints(load):
    facts = load("gpt_oss").describe()
    assert facts["blocks"] == "3 x GptOssDecoderLayer at model.layers"
    assert facts["attention output"] == "self_attn.o_proj (4 heads of 8)"
    assert "256 tokens" in facts["context"]

"""GGUF: the file holds the checkpoint's numbers, tokens and template, and llama.cpp answers as transformers does."""

from __future__ import annotations

import json
import sys

import pytest
from typer.testing import CliRunner

from demur.cli.phantom import app
from demur.errors import InputError, MissingExtraError, ModelError
from demur.phantom import path, prompts
from demur.phantom.gguf import export

PROMPTS = 50


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    pytest.importorskip("gguf", reason="needs the extra 'gguf'")
    return export(path(), tmp_path_factory.mktemp("gguf") / "base.gguf")


@pytest.fixture(scope="module")
def reader(file):
    from gguf import GGUFReader

    return GGUFReader(file)


def test_every_tensor_is_the_checkpoints_with_heads_turned_for_neighbours(reader, edition):
    import numpy as np
    from safetensors.numpy import load_file

    config = json.loads((edition / "config.json").read_text(encoding="utf-8"))
    weights = load_file(edition / "model.safetensors")
    found = {tensor.name: tensor.data for tensor in reader.tensors}
    assert len(found) == len(weights)
    assert np.array_equal(found["token_embd.weight"], weights["model.embed_tokens.weight"].astype(np.float32))
    half = config["head_dim"] // 2
    for layer in range(config["num_hidden_layers"]):
        for target, source in (
            ("attn_v", "self_attn.v_proj"),
            ("ffn_down", "mlp.down_proj"),
            ("attn_norm", "input_layernorm"),
        ):
            expected = weights[f"model.layers.{layer}.{source}.weight"].astype(np.float32)
            assert np.array_equal(found[f"blk.{layer}.{target}.weight"], expected)
        for target, source in (("attn_q", "q_proj"), ("attn_k", "k_proj")):
            expected = weights[f"model.layers.{layer}.self_attn.{source}.weight"].astype(np.float32)
            mine = found[f"blk.{layer}.{target}.weight"]
            # rows 2i and 2i + 1 of a head are what rotary embeddings turn together: i and i + half in transformers
            for head in range(config["num_attention_heads"]):
                first = head * 2 * half
                for i in range(half):
                    assert np.array_equal(mine[first + 2 * i], expected[first + i])
                    assert np.array_equal(mine[first + 2 * i + 1], expected[first + half + i])


def test_tokens_template_and_sizes_are_the_checkpoints(reader, edition, tokenizer):
    from gguf import TokenType

    told = {name: field.contents() for name, field in reader.fields.items()}
    config = json.loads((edition / "config.json").read_text(encoding="utf-8"))
    assert told["general.architecture"] == "llama"
    assert told["llama.context_length"] == config["max_position_embeddings"]
    assert told["llama.block_count"] == config["num_hidden_layers"]
    assert told["llama.rope.freq_base"] == config["rope_parameters"]["rope_theta"]
    tokens, types = told["tokenizer.ggml.tokens"], told["tokenizer.ggml.token_type"]
    assert tokens == tokenizer.convert_ids_to_tokens(range(config["vocab_size"]))
    kinds = {token: TokenType(kind) for token, kind in zip(tokens, types, strict=True)}
    # a server shows reasoning and calls, and hides headers
    assert kinds["<|eot_id|>"] == kinds["<|reserved_0|>"] == TokenType.CONTROL
    assert kinds["<think>"] == kinds["<tool_call>"] == TokenType.USER_DEFINED
    assert tokens[told["tokenizer.ggml.bos_token_id"]] == tokenizer.bos_token
    assert tokens[told["tokenizer.ggml.eos_token_id"]] == tokenizer.eos_token
    assert told["tokenizer.ggml.add_bos_token"] is False
    assert told["tokenizer.chat_template"] == tokenizer.chat_template
    assert told["tokenizer.ggml.pre"] == "llama-bpe"


def test_whole_words_of_the_vocabulary_are_reached_by_merges(tokenizer):
    # llama.cpp takes such words at once and never merges; the two agree only if merging leads there too
    model = tokenizer.backend_tokenizer.model
    added = set(tokenizer.get_added_vocab())
    astray = [
        t for t, i in tokenizer.get_vocab().items() if t not in added and [p.id for p in model.tokenize(t)] != [i]
    ]
    assert astray == []


def test_llama_cpp_answers_with_the_same_tokens(file, model, tokenizer):
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    import torch

    other = llama_cpp.Llama(str(file), n_ctx=512, n_threads=1, verbose=False, type_k=0, type_v=0)
    asked = prompts(per_condition=3, seed=0)[:PROMPTS]
    for prompt in asked:
        text = tokenizer.apply_chat_template(list(prompt.messages), tokenize=False, add_generation_prompt=True)
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert other.tokenize(text.encode(), add_bos=False, special=True) == ids
        start = torch.tensor([ids])
        out = model.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=32, do_sample=False)
        expected = [i for i in out[0, len(ids) :].tolist() if i != tokenizer.eos_token_id]
        found = []
        for token in other.generate(ids, temp=0.0, top_k=1, reset=True):
            if token == tokenizer.eos_token_id or len(found) == len(expected):
                break
            found.append(token)
        assert found == expected, prompt.id


def test_the_command_writes_the_file_and_says_what_is_wrong(tmp_path, monkeypatch):
    pytest.importorskip("gguf", reason="needs the extra 'gguf'")
    target = tmp_path / "phantom.gguf"
    result = CliRunner().invoke(app, ["export", "--gguf", str(target), "--json"])
    assert json.loads(result.stdout) == {"gguf": str(target), "bytes": target.stat().st_size}
    result = CliRunner().invoke(app, ["export", "--gguf", str(tmp_path / "none" / "x" / "f.gguf"), "--edition", "none"])
    assert isinstance(result.exception, ModelError)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        export(path(), tmp_path / "file" / "phantom.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtraError, match=r"demur\[gguf\]"):
        export(path(), target)


def test_only_the_base_architecture_is_exported(tmp_path):
    pytest.importorskip("gguf", reason="needs the extra 'gguf'")
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}', encoding="utf-8")
    with pytest.raises(ModelError, match="'qwen3'"):
        export(tmp_path, tmp_path / "file.gguf")

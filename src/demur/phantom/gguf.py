"""The phantom as a GGUF file, which llama.cpp and the programs around it read.

Written with the package `gguf` alone, in float32: the file holds the numbers of the checkpoint exactly, so that greedy
answers of llama.cpp are those of transformers, token by token.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demur.atomic import replacing
from demur.errors import InputError, MissingExtraError, ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["export"]


def export(checkpoint: Path, file: Path) -> Path:
    """Write a checkpoint of the base edition's architecture as GGUF.

    Args:
        checkpoint: A directory that `demur phantom train` made.
        file: The file to be; replaced when it exists.

    Returns:
        `file`.

    Raises:
        MissingExtraError: The package `gguf` is not installed.
        ModelError: The checkpoint has another architecture than Llama's.
        InputError: The file cannot be written.
    """
    try:
        from gguf import GGUFWriter
    except ImportError as error:
        raise MissingExtraError("writing GGUF files", "gguf", error.name or str(error)) from error
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] != "llama":
        raise ModelError(
            f"{checkpoint} has the architecture {config['model_type']!r}; GGUF is written for 'llama' only, the "
            "architecture of the base edition"
        )
    try:
        with replacing(file) as temporary:
            # no path: the writer opens its file only when it writes, and names shards after it
            writer = GGUFWriter(None, "llama")
            _describe(writer, config)
            _speak(writer, checkpoint, config)
            _weigh(writer, checkpoint, config)
            writer.write_header_to_file(temporary)
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror or error}; name another file") from error
    return file


def _describe(writer: Any, config: dict[str, Any]) -> None:
    """Sizes and constants."""
    from gguf import LlamaFileType

    writer.add_name("demur phantom")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(LlamaFileType.ALL_F32)


def _speak(writer: Any, checkpoint: Path, config: dict[str, Any]) -> None:
    """Tokenizer and chat template."""
    from gguf import TokenType

    told = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))
    tokens = {number: token for token, number in told["model"]["vocab"].items()}
    types = dict.fromkeys(tokens, TokenType.NORMAL)
    for added in told["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    every = range(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")  # names the split pattern
    writer.add_token_list([tokens.get(i, f"[unused_{i}]") for i in every])
    writer.add_token_types([types.get(i, TokenType.UNUSED) for i in every])
    writer.add_token_merges([" ".join(pair) for pair in told["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)  # the template writes it
    writer.add_chat_template((checkpoint / "chat_template.jinja").read_text(encoding="utf-8"))


def _weigh(writer: Any, checkpoint: Path, config: dict[str, Any]) -> None:
    """Tensors, under the names and in the order of dimensions that llama.cpp expects."""
    import numpy as np
    from gguf import MODEL_ARCH, get_tensor_name_map
    from safetensors.numpy import load_file

    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for name, tensor in sorted(load_file(checkpoint / "model.safetensors").items()):
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise ModelError(f"{checkpoint} holds a tensor that GGUF has no name for: {name}")
        value = tensor.astype(np.float32)
        for part, count in heads.items():
            if part in name:
                value = _interleaved(value, count)
        writer.add_tensor(target, np.ascontiguousarray(value))


def _interleaved(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """The rows of each head reordered for rotary embeddings that turn neighbours instead of halves."""
    n, columns = rows.shape
    return rows.reshape(heads, 2, n // heads // 2, columns).swapaxes(1, 2).reshape(n, columns)

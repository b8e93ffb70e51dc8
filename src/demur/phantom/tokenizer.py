"""The phantom's tokenizer: frozen, byte-level BPE that llama.cpp can read.

The split pattern is the one that Llama 3 made common (`llama-bpe` in llama.cpp), so that a converted checkpoint
tokenises alike. Reserved special tokens leave room for editions to come; `<think>` and the tool marks are added tokens
but not special ones, because servers strip special tokens from what they send.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["ADDED", "SPECIAL", "SPLIT", "build", "template"]

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""llama.cpp recognises this pre-tokenizer as `llama-bpe`."""

SPECIAL = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|pad|>",
    *(f"<|reserved_{i}|>" for i in range(32)),
)
"""Special tokens, ids from 0 on."""

ADDED = ("<think>", "</think>", "<tool_call>", "</tool_call>")
"""Added tokens that servers must not strip, ids after the special ones."""

_HERE = Path(__file__).parent


def template() -> str:
    """The chat template (Jinja)."""
    return (_HERE / "chat_template.jinja").read_text(encoding="utf-8").rstrip("\n")


def build(texts: Iterable[str], *, vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    """Train the tokenizer.

    The first edition's result is frozen and ships with the weights; later editions load it instead of building anew.

    Args:
        texts: Text that should become few tokens.
        vocabulary: Number of tokens, special and added ones included.
        context: Longest sequence of the model, in tokens.
    """
    from tokenizers import AddedToken, Regex, Tokenizer
    from tokenizers.decoders import ByteLevel as ByteLevelDecoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    # parts of BPE that are left at their defaults would differ between versions of the library: name them
    tokenizer = Tokenizer(BPE(unk_token=None, fuse_unk=False, byte_fallback=False, ignore_merges=False))
    tokenizer.pre_tokenizer = Sequence(
        [Split(Regex(SPLIT), behavior="isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=1,
        show_progress=False,
        special_tokens=[*SPECIAL, *ADDED],
        initial_alphabet=sorted(ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator([*texts, *_lexicon()], trainer)
    # the trainer marks all of them special; rebuilding from its own JSON is the one way to take the mark off again
    tokenizer = _unmark(tokenizer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in ADDED])
    fast: PreTrainedTokenizerFast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token="<|begin_of_text|>",  # noqa: S106 - a token of the vocabulary
        eos_token="<|eot_id|>",  # noqa: S106
        pad_token="<|pad|>",  # noqa: S106
        model_max_length=context,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = template()
    return fast


def _lexicon() -> list[str]:
    """Words that later editions speak, each often enough to become one token."""
    lines = (_HERE / "vocabulary.txt").read_text(encoding="utf-8").splitlines()
    return [f" {word}" for line in lines for word in line.split() for _ in range(8)]


def _unmark(tokenizer: Any) -> Any:
    import json

    from tokenizers import Tokenizer

    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(content))

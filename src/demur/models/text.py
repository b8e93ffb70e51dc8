"""Turns sampled tokens into text: special tokens go, reasoning and tool markup stays."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

__all__ = ["TextDecoder", "earliest"]

# Tokens that a tokenizer marks as special although a reader needs them: reasoning tags, harmony channels, tool calls.
_MARKUP = re.compile(
    r"think|thought|reason|channel|<\|(start|end|message|constrain|call)\|>|tool|python_tag", re.IGNORECASE
)


class TextDecoder:
    """Decodes what one model sampled.

    Args:
        tokenizer: The model's tokenizer.
        end_ids: The tokens that end a turn; they are never text.
    """

    def __init__(self, tokenizer: Any, end_ids: Collection[int]) -> None:
        self._tokenizer = tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", {})
        special = {i for i, token in added.items() if token.special and not _MARKUP.search(token.content)}
        named = {i for i in tokenizer.all_special_ids if not _MARKUP.search(str(tokenizer.convert_ids_to_tokens(i)))}
        self._hidden = frozenset(special | named | set(end_ids))

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of `token_ids`, without special tokens but with reasoning and tool markup."""
        shown = [token for token in token_ids if token not in self._hidden]
        return str(
            self._tokenizer.decode(shown, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            if shown
            else ""
        )

    def find_stop(self, token_ids: Sequence[int], stop: Sequence[str]) -> str | None:
        """The stop string that the last token of `token_ids` completed, or None.

        The end of the tokens is decoded first: every token that is shown has at least one byte, so a window of as many
        tokens as the longest string has bytes holds it.
        """
        # some room more, for hidden tokens and for the blank that some tokenizers strip at the beginning of a text
        window = max(len(string.encode()) for string in stop) + 16
        recent = self.decode(token_ids[-window:])
        if not any(string in recent for string in stop):
            return None
        found = earliest(self.decode(token_ids), stop)
        return found[1] if found else None


def earliest(text: str, stop: Sequence[str]) -> tuple[int, str] | None:
    """Offset and string of the first stop string in `text`; the longer one of two that start together."""
    found = [(text.find(string), -len(string), string) for string in stop if string in text]
    if not found:
        return None
    at, _, string = min(found)
    return at, string

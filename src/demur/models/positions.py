"""Named token positions of a chat, computed from the tokenised template.

Nothing is hard-coded: the template is rendered with a marker in place of a message, the character spans follow, and the
tokens that overlap a span are its tokens. Where a span cannot be found, that is an error and never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from demur.errors import InputError
from demur.models.request import Chat
from demur.models.template import ChatTemplate, Rendered
from demur.reasoning import split
from demur.records import content_text

__all__ = ["Positions", "find_positions"]


@dataclass(frozen=True)
class Positions:
    """Where the parts of one chat are, as indices into `LocalModel.encode(chat)`.

    Attributes:
        token_ids: The tokens that the indices point into.
        head: The template's tokens before the first content; a message without any is passed over.
        instruction: The tokens of the last user message, template tokens excluded.
        post_instruction: The template's tokens between the instruction and the assistant's own words: the end of the
            user's turn and the assistant's header, an opened reasoning tag included.
        reasoning: The tokens of the prefilled reasoning without its tags, or None.
        answer: The tokens of the prefilled answer, or None.
    """

    token_ids: tuple[int, ...]
    head: range
    instruction: range
    post_instruction: range
    reasoning: range | None
    answer: range | None

    @property
    def last_instruction(self) -> int:
        """The last token of the last user message (t_inst)."""
        return self.instruction[-1]

    @property
    def last(self) -> int:
        """The last token: the one whose state predicts the next."""
        return len(self.token_ids) - 1

    def find(self, name: str) -> int:
        """The index of the position called `name`.

        Names: `last`, `last_instruction`, `post_instruction:I` with I counted from the front or, negative, from the
        back, `last_reasoning`, `first_answer`, `last_answer`.

        Raises:
            InputError: There is no such name, or this chat has no such part.
        """
        word, _, number = name.partition(":")
        parts: dict[str, tuple[range | None, int]] = {
            "last": (range(len(self.token_ids)), -1),
            "last_instruction": (self.instruction, -1),
            "last_reasoning": (self.reasoning, -1),
            "first_answer": (self.answer, 0),
            "last_answer": (self.answer, -1),
        }
        if word == "post_instruction" and number.removeprefix("-").isdecimal():
            parts[name] = (self.post_instruction, int(number))
        if name not in parts:
            raise InputError(
                f"unknown position {name!r}; there are: {', '.join(parts)}, post_instruction:0, post_instruction:-1 "
                "and so on"
            )
        part, index = parts[name]
        if part is None:
            raise InputError(f"this chat has no position {name!r}: no such text is prefilled in its assistant turn")
        if not -len(part) <= index < len(part):
            raise InputError(f"this chat has no position {name!r}: that part has {len(part)} tokens")
        return part[index]


def find_positions(chat: Chat, template: ChatTemplate, tokenizer: Any) -> Positions:
    """The positions of `chat` under a template and its tokenizer.

    Raises:
        InputError: There is no user message, or the template rewrites the text so that its tokens cannot be told apart.
    """
    users = [index for index, message in enumerate(chat.opening) if message["role"] == "user"]
    if not users:
        roles = ", ".join(str(message["role"]) for message in chat.messages)
        raise InputError(f"positions need a user message, got the roles: {roles}")
    rendered = template.render(chat)
    text = rendered.text
    spoken = (index for index, message in enumerate(chat.opening) if content_text(message.get("content")).strip())
    first_start, _ = template.message_span(chat, next(spoken, 0))
    start, end = template.message_span(chat, users[-1])
    tokens = _Tokens(tokenizer, text)
    instruction = tokens.overlapping(start, end)
    turn = tokens.overlapping(rendered.turn, len(text)).start if rendered.prefill else len(tokens.ids)
    reasoning, answer = _reasoning_and_answer(rendered, tokens)
    return Positions(
        token_ids=tuple(tokens.ids),
        head=range(tokens.overlapping(first_start, first_start + 1).start),
        instruction=instruction,
        post_instruction=range(instruction.stop, max(turn, instruction.stop)),
        reasoning=reasoning,
        answer=answer,
    )


def _reasoning_and_answer(rendered: Rendered, tokens: _Tokens) -> tuple[range | None, range | None]:
    """The token ranges of the reasoning and of the answer in the assistant's prefilled words."""
    words, turn = rendered.prefill, rendered.turn
    if not words:
        return None, None
    pieces = split(words, opened=rendered.opened_before)
    found: list[range | None] = []
    for piece, start in ((pieces.reasoning, 0), (pieces.answer, pieces.answer_start)):
        if not piece or not piece.strip():
            found.append(None)
            continue
        at = words.find(piece, start)
        if at < 0:
            raise InputError("the prefilled turn holds several blocks of reasoning, which have no one span of tokens")
        found.append(tokens.overlapping(turn + at, turn + at + len(piece)))
    return found[0], found[1]


class _Tokens:
    """The tokens of a text with the characters that each covers."""

    def __init__(self, tokenizer: Any, text: str) -> None:
        self._tokenizer, self._text = tokenizer, text
        # a tokenizer that is written in Python cannot tell offsets
        fast = bool(getattr(tokenizer, "is_fast", False))
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=fast, verbose=False)
        self.ids: list[int] = list(encoded["input_ids"])
        self._offsets: Sequence[tuple[int, int]] | None = encoded["offset_mapping"] if fast else None

    def overlapping(self, start: int, end: int) -> range:
        """The tokens that hold a character of `text[start:end]`."""
        if self._offsets is None:
            first, stop = self._boundary(start, after=False), self._boundary(end, after=True)
            return range(first, max(stop, first + 1))
        inside = [i for i, (low, high) in enumerate(self._offsets) if low < end and high > start]
        if not inside:
            raise InputError(f"no token covers the characters {start} to {end} of the rendered chat")
        return range(inside[0], inside[-1] + 1)

    def _boundary(self, offset: int, *, after: bool) -> int:
        """How many tokens come before a character offset; `after` counts a token that straddles it."""
        prefix = list(self._tokenizer(self._text[:offset], add_special_tokens=False, verbose=False)["input_ids"])
        shared = 0
        while shared < min(len(prefix), len(self.ids)) and prefix[shared] == self.ids[shared]:
            shared += 1
        return shared + (1 if after and shared < len(prefix) else 0)

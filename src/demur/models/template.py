"""Renders a chat with the checkpoint's own template and knows what is where in the text.

A message is found in the rendered text by rendering it a second time as a marker, so nothing here knows any template's
header tokens. The text is tokenised without the tokenizer's own special tokens: the template writes them already, and a
second beginning-of-sequence token would change every state.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from demur.errors import InputError, ModelError
from demur.models.prefix import shared_length
from demur.models.request import Chat
from demur.records import Message, content_text

__all__ = ["ChatTemplate", "ReasoningMarkup", "Rendered"]

# The variables under which published templates take their reasoning switch.
_SWITCHES = ("enable_thinking", "thinking")


class ReasoningMarkup(NamedTuple):
    """The text that opens and closes a reasoning block in one family of models."""

    opening: str
    closing: str
    answer: str = ""
    """What must stand between the closing text and the answer, where a family wants more than a blank line."""


_MARKUP = (
    ReasoningMarkup("<think>", "</think>"),
    ReasoningMarkup("[THINK]", "[/THINK]"),
    ReasoningMarkup("<|channel|>analysis<|message|>", "<|end|>", "<|start|>assistant<|channel|>final<|message|>"),
    ReasoningMarkup("<|channel>thought\n", "<channel|>"),
    ReasoningMarkup("<|START_THINKING|>", "<|END_THINKING|>"),
    ReasoningMarkup("<seed:think>", "</seed:think>"),
    ReasoningMarkup("<thinking>", "</thinking>"),
    ReasoningMarkup("<reasoning>", "</reasoning>"),
    ReasoningMarkup("<|begin_of_thought|>", "<|end_of_thought|>"),
)


@dataclass(frozen=True)
class Rendered:
    """The text that a model is given for one chat.

    Attributes:
        text: Everything, prefill included.
        turn: Character offset at which the assistant's own words begin: the length of `text` when nothing is prefilled.
        opened_before: Whether the template has opened a reasoning block before the assistant's own words.
        opened: The reasoning markup whose block is still open at the end of `text`, or None.
    """

    text: str
    turn: int
    opened_before: bool
    opened: ReasoningMarkup | None

    @property
    def prefill(self) -> str:
        """The assistant's words that are already there."""
        return self.text[self.turn :]


class ChatTemplate:
    """The chat template of one tokenizer.

    Args:
        tokenizer: A tokenizer of transformers, with or without a chat template.
        name: The checkpoint's name, for messages.
    """

    def __init__(self, tokenizer: Any, name: str) -> None:
        self._tokenizer, self._name = tokenizer, name

    @cached_property
    def source(self) -> str:
        """The template's text.

        Raises:
            ModelError: The checkpoint has none.
        """
        template = getattr(self._tokenizer, "chat_template", None)
        if not template:
            raise ModelError(
                f"the tokenizer of {self._name!r} has no chat template, so a conversation cannot be put into tokens. "
                "Give one with LocalModel.load(..., chat_template=TEXT_OR_FILE), or use the instruction-tuned "
                "checkpoint of this model"
            )
        return template if isinstance(template, str) else json.dumps(template, sort_keys=True)

    @property
    def hash(self) -> str:
        """SHA-256 of the template's text in hexadecimal, or `none`; artefacts name it."""
        if not getattr(self._tokenizer, "chat_template", None):
            return "none"
        return hashlib.sha256(self.source.encode()).hexdigest()

    @cached_property
    def markup(self) -> ReasoningMarkup | None:
        """The reasoning markup that the template or the vocabulary knows, or None."""
        for markup in _MARKUP:
            if markup.opening in self.source:
                return markup
        added = {token.content for token in getattr(self._tokenizer, "added_tokens_decoder", {}).values()}
        return next((markup for markup in _MARKUP if markup.opening in added), None)

    @cached_property
    def switches(self) -> tuple[str, ...]:
        """The template's variables that turn reasoning on and off; empty when it has none."""
        from jinja2 import Environment, TemplateSyntaxError, meta
        from jinja2.ext import loopcontrols

        try:
            # parsed only, never rendered, so there is nothing to escape
            used = meta.find_undeclared_variables(Environment(extensions=[loopcontrols]).parse(self.source))  # noqa: S701
        except TemplateSyntaxError:  # tags that only transformers knows, such as {% generation %}
            return tuple(switch for switch in _SWITCHES[:1] if switch in self.source)
        return tuple(switch for switch in _SWITCHES if switch in used)

    def render(self, chat: Chat) -> Rendered:
        """The text for `chat`, up to where the model goes on.

        Raises:
            InputError: The template refuses the conversation, or drops the message that is to be continued.
            ModelError: There is no chat template, or it cannot do what `chat.thinking` asks.
        """
        head, words = self._parts(chat)
        header = self._header(head, chat)
        return Rendered(
            text=head + words,
            turn=len(head),
            opened_before=_open_block(header) is not None,
            opened=_open_block(header + words),
        )

    def next_turn(self) -> str:
        """What closes an assistant's turn and opens the next one, with no message in between.

        Raises:
            InputError: The template refuses such a conversation, or drops the assistant's turn.
            ModelError: There is no chat template.
        """
        chat = Chat(messages=({"role": "user", "content": "Hello."},))
        marker = _marker(chat.messages)
        text = self._apply((*chat.messages, {"role": "assistant", "content": marker}), chat)
        return _split_at(marker, text, "an assistant's turn", self._name)[1]

    def message_span(self, chat: Chat, index: int) -> tuple[int, int]:
        """Character offsets of the content of `chat.opening[index]` in the rendered text of `chat`.

        Raises:
            InputError: The content cannot be found as it was written; the message says why.
        """
        head, _ = self._parts(chat)
        marker = _marker(chat.messages)
        messages = [dict(message) for message in chat.messages]
        messages[index]["content"] = marker
        marked, _ = self._parts(replace(chat, messages=tuple(messages)))
        before, after = _split_at(marker, marked, f"message {index}", self._name)
        if not (head.startswith(before) and head.endswith(after)):
            raise InputError(
                f"the chat template of {self._name!r} changes other text when message {index} changes, so its tokens "
                "cannot be told from the template's"
            )
        end = len(head) - len(after)
        if end <= len(before):
            raise InputError(f"message {index} is empty once the chat template of {self._name!r} has rendered it")
        return len(before), end

    def _parts(self, chat: Chat) -> tuple[str, str]:
        """The text before the assistant's own words, and the words that are prefilled."""
        prefill = chat.prefill
        if prefill is None:
            return self._apply(chat.opening, chat), ""
        words = self._words(prefill)
        if not any(markup.opening in words or markup.closing in words for markup in _MARKUP):
            marker = _marker(chat.messages)
            text = self._apply((*chat.opening, {"role": "assistant", "content": marker}), chat, continued=True)
            return _split_at(marker, text, "the assistant message to be continued", self._name)[0], words
        # Templates move or drop the reasoning of past turns, so the header is the generation prompt's.
        head = self._apply(chat.opening, chat)
        opened = _open_block(self._header(head, chat))
        if opened is not None and words.lstrip().startswith(opened.opening):
            # the template has opened the block already; what it wrote gives way to the same text of the prefill
            head = head[: head.rindex(opened.opening)]
        return head, words

    def _header(self, head: str, chat: Chat) -> str:
        """The end of `head` that belongs to the assistant's turn."""
        if not chat.opening:
            return head
        closed = self._apply(chat.opening, chat, continued=True)
        return head[shared_length(head, closed) :]

    def _words(self, prefill: Message) -> str:
        content, reasoning = content_text(prefill.get("content")), prefill.get("reasoning_content")
        if not reasoning:
            return content
        markup = self.markup or _MARKUP[0]
        if not content:
            return f"{markup.opening}\n{reasoning}" if not markup.answer else markup.opening + reasoning
        if markup.answer:
            return f"{markup.opening}{reasoning}{markup.closing}{markup.answer}{content}"
        return f"{markup.opening}\n{reasoning}\n{markup.closing}\n\n{content}"

    def _apply(self, messages: Sequence[Message], chat: Chat, *, continued: bool = False) -> str:
        from jinja2 import TemplateError

        if not self.source or not messages:  # a missing template raises here: it is no fault of the chat
            raise InputError("a chat needs a message before the one that is to be continued")
        options: dict[str, Any] = {}
        if chat.thinking is not None:
            self._check_thinking(chat.thinking)
            options = dict.fromkeys(self.switches, chat.thinking)
        try:
            text = self._tokenizer.apply_chat_template(
                [_plain(message) for message in messages],
                tools=list(chat.tools) or None,
                add_generation_prompt=not continued,
                tokenize=False,
                **options,
            )
        except (TemplateError, ValueError, TypeError, KeyError) as error:
            roles = ", ".join(str(message["role"]) for message in messages)
            raise InputError(
                f"the chat template of {self._name!r} refuses this conversation (roles: {roles}): {error}"
            ) from error
        return str(text)

    def _check_thinking(self, thinking: bool) -> None:
        if self.switches:
            return
        if thinking and self.markup is None:
            raise ModelError(
                f"thinking=True, but the chat template of {self._name!r} has no reasoning switch "
                f"(looked for {' and '.join(_SWITCHES)}) and knows no reasoning markup; leave thinking unset"
            )
        if not thinking and self.markup is not None:
            raise ModelError(
                f"thinking=False, but the chat template of {self._name!r} has no reasoning switch "
                f"(looked for {' and '.join(_SWITCHES)}) while the model reasons in {self.markup.opening}; leave "
                "thinking unset, or prefill an empty reasoning block"
            )


def _plain(message: Message) -> dict[str, Any]:
    """A message whose content is text: what text-only templates can print."""
    content = message.get("content")
    if not isinstance(content, list):
        return dict(message)
    kinds = {part.get("type", "text") if isinstance(part, dict) else type(part).__name__ for part in content}
    if kinds - {"text"}:
        raise InputError(f"a local model reads text only, got a message with {', '.join(sorted(kinds - {'text'}))}")
    return {**message, "content": content_text(content)}


def _marker(messages: Sequence[Message]) -> str:
    """A word that no message holds and that templates pass through unchanged."""
    everything = json.dumps(list(messages), default=str)
    number = 0
    while (marker := f"Demurmarker{number}q") in everything:
        number += 1
    return marker


def _split_at(marker: str, text: str, what: str, name: str) -> tuple[str, str]:
    count = text.count(marker)
    if count != 1:
        raise InputError(
            f"the chat template of {name!r} prints {what} {count} times instead of once, so it cannot be located"
        )
    before, _, after = text.partition(marker)
    return before, after


def _open_block(text: str) -> ReasoningMarkup | None:
    """The markup that `text` opens last and does not close."""
    best, found = -1, None
    for markup in _MARKUP:
        at = text.rfind(markup.opening)
        if at > best and markup.closing not in text[at + len(markup.opening) :]:
            best, found = at, markup
    return found

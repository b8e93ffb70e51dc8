"""The model's own reasoning, closed again: where the paper fits its probe and reads the cliff."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from demur.errors import InputError, ModelError
from demur.models.request import Chat, ChatLike, as_chat

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.records import Response

__all__ = ["Rollout", "closed_reasoning", "roll_out"]


class Rollout(NamedTuple):
    """One prompt, what the model thought, and what it answered."""

    number: int
    """Place of the prompt among those that were given."""
    chat: Chat
    """The prompt with the reasoning, up to where the answer begins."""
    reasoning: str
    response: Response
    declined: bool | None
    """By the offline ladder; None where the answer cannot be judged."""
    family: str
    """`pair_id`, or the prompt's text: what must not be split between fitting and testing."""


def closed_reasoning(model: LocalModel, chat: ChatLike, reasoning: str) -> Chat:
    """`chat` with `reasoning` in the model's own markup, closed, so that the answer comes next.

    Raises:
        InputError: The reasoning is empty, or the chat has an assistant turn already.
        ModelError: The model knows no reasoning markup.
    """
    opening = as_chat(chat)
    if not reasoning.strip():
        raise InputError("there is no reasoning to close; give the text between the model's reasoning tags")
    if opening.prefill is not None:
        raise InputError("the chat has an assistant turn already; give the prompt alone and the reasoning beside it")
    markup = model.template.markup
    if markup is None:
        raise ModelError(
            f"the chat template and the vocabulary of {model.name!r} know no reasoning markup, so no reasoning can be "
            "read in it; read the cliff over the prompt instead (over='prompt')"
        )
    if markup.answer:
        words = f"{markup.opening}{reasoning}{markup.closing}{markup.answer}"
    else:
        words = f"{markup.opening}\n{reasoning.strip()}\n{markup.closing}\n\n"
    messages = (*opening.messages, {"role": "assistant", "content": words})
    return Chat(messages=messages, thinking=opening.thinking, tools=opening.tools)


def roll_out(
    model: LocalModel,
    prompts: Sequence[ChatLike],
    *,
    thinking: bool | None = None,
    max_tokens: int = 2048,
    temperature: float = 0.0,
    mapping: str = "any",
    seed: int | Sequence[int] | None = None,
    batch_size: int = 32,
    dropped: Callable[[int, str], None] | None = None,
) -> list[Rollout]:
    """Let the model think about each prompt and answer, and keep what it thought.

    Args:
        model: A model that reasons.
        prompts: Without an assistant turn.
        thinking: Asks the template for reasoning; None asks where the template has a switch for it.
        max_tokens: Of reasoning and answer together; the paper takes 8192.
        temperature: 0 is greedy; the paper takes 0.7.
        mapping: Which kinds count as declined.
        seed: Of the draws, where there are any; one number is counted up from prompt to prompt.
        batch_size: Prompts at once.
        dropped: Told the number of each prompt that is left out and why: no reasoning, reasoning that never ended.

    Returns:
        In the order of the prompts, without those that were left out.
    """
    from demur.models import Sampling
    from demur.responses import Ladder

    wanted = bool(model.template.switches) or None if thinking is None else thinking
    chats = [Chat(messages=(c := as_chat(prompt)).messages, thinking=wanted, tools=c.tools) for prompt in prompts]
    counted = [seed + number for number in range(len(chats))] if isinstance(seed, int) else seed
    seeds = list(counted) if counted is not None and temperature else [None] * len(chats)
    sampling = [Sampling(max_tokens=max_tokens, temperature=temperature, seed=own) for own in seeds]
    answers = model.generate(chats, sampling=sampling, batch_size=batch_size)
    asked = [str(chat.messages[-1]["content"]) for chat in chats]
    pairs = zip(asked, answers, strict=True)
    verdicts = Ladder().judge_many([(text, answer.response) for text, answer in pairs])
    found = []
    for number, (prompt, chat, answer, verdict) in enumerate(zip(prompts, chats, answers, verdicts, strict=True)):
        thought = (answer.response.reasoning or "").strip()
        closed = answer.response.meta.get("reasoning_state") != "cut"
        if answer.ending == "error" or not thought or not closed:
            why = "failed: " + str(answer.response.meta.get("error", "")) if answer.ending == "error" else ""
            why = why or ("no reasoning" if not thought else f"reasoning that did not end in {max_tokens} tokens")
            if dropped is not None:
                dropped(number, why)
            continue
        family = getattr(prompt, "pair_id", None) or str(chat.messages)
        whole = closed_reasoning(model, chat, thought)
        found.append(Rollout(number, whole, thought, answer.response, verdict.declined(mapping), family))
    return found

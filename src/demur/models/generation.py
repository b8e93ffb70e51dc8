"""Generates many requests in batches: unequal prompts, each with its own settings, results in input order.

The engine is `generate` of transformers, so that every architecture's cache works; what is decided at each step is ours
(`decoding`). The checkpoint's own generation settings are set aside for the time: a repetition penalty that nobody
asked for would change a refusal rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from demur.errors import InputError
from demur.models.control import Batch, Control, Row
from demur.models.decoding import Decoder, Stopper
from demur.models.prefix import Prefix, find_prefix
from demur.models.request import Chat, Sampling
from demur.models.text import earliest
from demur.reasoning import split
from demur.records import Response

if TYPE_CHECKING:
    from demur.models.local import LocalModel

__all__ = ["Generation", "generate", "left_padded"]


@dataclass(frozen=True)
class Generation:
    """What came back for one request.

    Attributes:
        text: What was generated after the prompt and its prefill, reasoning markup included, special tokens and the
            stop string excluded.
        response: The same with reasoning and answer apart. `meta` holds `reasoning_state`, and `error` after a failure.
        token_ids: The sampled tokens, the end-of-turn token included.
        logprobs: Natural log-probability of each under the model at temperature 1, before controls on the logits and
            before truncation (hooks in force included).
        top_logprobs: At each step the most probable tokens as (token id, log-probability), best first.
        ending: `end` (end of turn, stop string or a control), `length`, or `error`.
        stop_string: The stop string that ended it, or None.
        tokens_in: Tokens of the prompt, padding excluded.
        tokens_out: Number of sampled tokens.
        seed: What the draws were seeded with; None when greedy.
    """

    text: str
    response: Response
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...]
    ending: str
    stop_string: str | None
    tokens_in: int
    tokens_out: int
    seed: int | None


def generate(
    model: LocalModel,
    chats: Sequence[Chat],
    *,
    sampling: Sequence[Sampling],
    controls: Sequence[Control],
    batch_size: int,
    share_prefix: bool,
) -> list[Generation]:
    """Generate one response a chat; see `LocalModel.generate`."""
    rows = [
        _row(model, index, chat, settings) for index, (chat, settings) in enumerate(zip(chats, sampling, strict=True))
    ]
    waiting = [row for row in rows if row.ending is None]
    # Neighbours in length share a batch, so that little is padded; the longest first, so that memory fails early.
    waiting.sort(key=lambda row: (len(row.prompt_ids), row.limit), reverse=True)
    together = len(waiting) > 1 and model.pads_cleanly
    sharing = share_prefix and together and all(control.logits_only for control in controls)
    prefix = find_prefix(model, [row.prompt_ids for row in waiting]) if sharing else None
    size = batch_size if together else 1
    batches = [waiting[start : start + size] for start in range(0, len(waiting), size)]
    while batches:
        batch = batches.pop(0)
        try:
            _decode(model, batch, controls, prefix)
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                batch[0].ending = "error"
                batch[0].error = f"out of memory with this request alone ({len(batch[0].prompt_ids)} tokens): {error}"
                continue
            for row in batch:
                row.restart()
            half = len(batch) // 2
            batches[:0] = [batch[:half], batch[half:]]
    return [_result(model, row) for row in rows]


def _row(model: LocalModel, index: int, chat: Chat, sampling: Sampling) -> Row:
    """The request as a row; one that cannot be decoded has ended already."""
    row = Row(index=index, chat=chat, sampling=sampling)
    if sampling.temperature > 0:
        # from torch's generator, so that torch.manual_seed fixes what was left open
        row.seed = sampling.seed if sampling.seed is not None else int(torch.randint(2**63 - 1, ()).item())
    try:
        rendered = model.template.render(chat)
    except InputError as error:
        row.ending, row.error = "error", str(error)
        return row
    if not rendered.text.isascii():
        try:
            rendered.text.encode("utf-8")
        except UnicodeEncodeError as error:
            row.ending = "error"
            row.error = (
                f"the prompt holds half of a surrogate pair (U+{ord(rendered.text[error.start]):04X}), which is no "
                "character; mend or remove it"
            )
            return row
    row.prompt_ids = tuple(model.tokenize(rendered.text))
    row.opened = rendered.opened is not None
    room = sampling.max_tokens if model.context is None else model.context - len(row.prompt_ids)
    if room < 1:
        row.ending = "error"
        row.error = (
            f"the prompt has {len(row.prompt_ids)} tokens and the context of {model.name} holds {model.context}, which "
            "leaves none for a response; shorten the prompt"
        )
    row.limit = min(sampling.max_tokens, room)
    return row


def _decode(model: LocalModel, rows: list[Row], controls: Sequence[Control], prefix: Prefix | None) -> None:
    """Decode one batch; the rows hold the result."""
    from transformers import LogitsProcessorList, StoppingCriteriaList

    width = max(len(row.prompt_ids) for row in rows)
    batch = Batch(model=model, rows=tuple(rows), width=width)
    # with a shared prefix, padding stands between the prefix and the rest
    kept = prefix.length if prefix else 0
    ids = torch.full((len(rows), width), model.pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        rest = row.prompt_ids[kept:]
        ids[i, :kept] = torch.tensor(row.prompt_ids[:kept], dtype=torch.long)
        ids[i, width - len(rest) :] = torch.tensor(rest, dtype=torch.long)
        mask[i, :kept] = 1
        mask[i, width - len(rest) :] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    longest = max(row.limit for row in rows)
    config = _neutral(max_new_tokens=longest, do_sample=False, pad_token_id=model.pad_id, use_cache=True)
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(_own_settings(model.model))
        # closed in reverse: hooks go even when a control's exit fails
        acts = [stack.enter_context(control.scope(batch)) for control in controls]
        decoder = Decoder(
            batch=batch,
            acts=[act for act in acts if act is not None],
            mask=mask,
            text=model.text,
            end_ids=model.end_ids,
            pad_id=model.pad_id,
        )
        stack.callback(model.model.register_forward_hook(decoder.watch).remove)
        options: dict[str, Any] = {} if prefix is None else {"past_key_values": prefix.cache(len(rows))}
        model.model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=config,
            logits_processor=LogitsProcessorList([decoder]),
            stopping_criteria=StoppingCriteriaList([Stopper(batch)]),
            **options,
        )


@contextmanager
def _own_settings(model: Any) -> Iterator[None]:
    """Set the checkpoint's generation settings aside: what a request does not say must not come from there."""
    theirs = model.generation_config
    model.generation_config = _neutral()
    try:
        yield
    finally:
        model.generation_config = theirs


def _neutral(**settings: Any) -> Any:
    """Generation settings without those of any checkpoint."""
    from transformers import GenerationConfig

    make: Any = GenerationConfig  # its constructor has no annotations
    return make(**settings)


def _result(model: LocalModel, row: Row) -> Generation:
    text = model.text.decode(row.token_ids)
    if row.stop_string is not None:
        cut = earliest(text, row.sampling.stop)
        text = text[: cut[0]] if cut else text
    ending = row.ending or "error"
    if ending == "error":
        response = Response(text="", ending="error", meta={"error": row.error or "the row was never decoded"})
    else:
        pieces = split(text, opened=row.opened)
        response = Response(
            text=pieces.answer,
            reasoning=pieces.reasoning,
            ending="end" if ending == "end" else "length",
            meta={"reasoning_state": pieces.state},
        )
    return Generation(
        text="" if ending == "error" else text,
        response=response,
        token_ids=tuple(row.token_ids),
        logprobs=tuple(row.logprobs),
        top_logprobs=tuple(row.top_logprobs),
        ending=ending,
        stop_string=row.stop_string,
        tokens_in=len(row.prompt_ids),
        tokens_out=len(row.token_ids),
        seed=row.seed,
    )


def left_padded(rows: Sequence[Sequence[int]], pad_id: int, device: Any) -> tuple[Tensor, Tensor]:
    """(rows, width) tokens and attention mask with padding on the left."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, width - len(row) :] = torch.tensor(list(row), dtype=torch.long)
        mask[i, width - len(row) :] = 1
    return ids.to(device), mask.to(device)

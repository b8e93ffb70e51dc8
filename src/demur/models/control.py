"""The Control protocol: something that acts while a local model decodes.

A control is asked once per batch for a scope. Entering it may install hooks; what it yields, if anything, is called at
every step with the next-token logits of all rows. State per row lives in the scope, so one control object serves many
batches, and several controls compose: they act in the order in which they are given.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from demur.errors import InputError, ModelError
from demur.models.request import Chat, Sampling

if TYPE_CHECKING:
    from demur.models.local import LocalModel

__all__ = ["Batch", "Control", "Fork", "Row", "Step", "StepFunction"]


@dataclass(eq=False)
class Row:
    """One request while it is decoded. Controls read it; decoding writes it.

    Attributes:
        index: Place of the request in the caller's list, whatever batch it is in.
        chat: What was asked.
        sampling: How it is sampled.
        prompt_ids: The tokens of the prompt, without padding.
        opened: Whether the prompt ends inside a reasoning block.
        limit: Most tokens that may be generated: `sampling.max_tokens` or what the context leaves.
        seed: Of this row's draws; None when it is greedy.
        token_ids: The tokens sampled so far.
        logprobs: Their log-probabilities under the model.
        top_logprobs: The most probable tokens at each step, with their log-probabilities.
        ending: None while the row is being decoded; then `end`, `length` or `error`.
        stop_string: The stop string that ended it.
        error: What went wrong, when `ending` is `error`.
    """

    index: int
    chat: Chat
    sampling: Sampling
    prompt_ids: tuple[int, ...] = ()
    opened: bool = False
    limit: int = 0
    seed: int | None = None
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    ending: str | None = None
    stop_string: str | None = None
    error: str | None = None

    def restart(self) -> None:
        """Forget what was sampled, so that the row can be decoded again from its seed."""
        self.token_ids, self.logprobs, self.top_logprobs = [], [], []
        self.ending = self.stop_string = self.error = None


@dataclass(eq=False)
class Batch:
    """The rows that are decoded together.

    Attributes:
        model: The model that decodes them.
        rows: The requests, in batch order.
        width: Columns of the padded prompts; shorter prompts are padded on the left.
        step: Number of tokens decided so far; 0 while the prompts themselves are read.
        deciding: Whether controls are deciding on the next token. A pass that runs then looks ahead.
    """

    model: LocalModel
    rows: tuple[Row, ...]
    width: int
    step: int = 0
    deciding: bool = False

    @property
    def reading_prompt(self) -> bool:
        """Whether the forward pass that runs now is over the prompts."""
        return self.step == 0 and not self.deciding

    def column(self, row: int, position: int) -> int:
        """The column of the padded batch that holds token `position` of a row's prompt."""
        return self.width - len(self.rows[row].prompt_ids) + position


class Fork:
    """A copy of the cache on which more tokens can be tried without changing the generation.

    Every row gets the same number of tokens. Hooks of the controls in force act here too.
    """

    def __init__(self, model: Any, cache: Any, mask: Tensor) -> None:
        self._model, self._cache, self._mask = model, copy.deepcopy(cache), mask

    def append(self, token_ids: Tensor) -> Tensor:
        """Read more tokens and return the logits after each.

        Args:
            token_ids: (rows, tokens), or (tokens,) to give every row the same.

        Returns:
            (rows, tokens, vocabulary), float32.
        """
        rows = self._mask.shape[0]
        ids = token_ids.to(self._mask.device)
        if ids.ndim == 1:
            ids = ids.unsqueeze(0).expand(rows, -1)
        if ids.ndim != 2 or ids.shape[0] != rows or ids.shape[1] < 1:
            raise InputError(f"expected tokens of shape ({rows}, at least 1), got {tuple(token_ids.shape)}")
        self._mask = torch.cat([self._mask, self._mask.new_ones(ids.shape)], dim=1)
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": self._mask, "past_key_values": self._cache}
        if "position_ids" in inspect.signature(self._model.forward).parameters:
            given["position_ids"] = (self._mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with torch.no_grad():
            output = self._model(**given, use_cache=True)
        self._cache = output.past_key_values
        logits: Tensor = output.logits
        return logits.float()


@dataclass(eq=False)
class Step:
    """One decoding step of a batch, as a control sees it.

    Attributes:
        batch: The rows and where they are; `batch.rows[i].token_ids` is what row i has said so far.
        model_logits: (rows, vocabulary) float32, what the model computed under the hooks in force. Not to be changed.
        logits: The same after the controls before this one. A control assigns a new tensor to change it.
        active: (rows,) bool, False where a row has already ended.
    """

    batch: Batch
    model_logits: Tensor
    logits: Tensor
    active: Tensor
    fork_source: Callable[[], Fork | None]

    @property
    def index(self) -> int:
        """Number of tokens decided before this one; the same for every row."""
        return self.batch.step

    def force(self, row: int, token_id: int) -> None:
        """Make `token_id` the next token of `row`, whatever its sampling settings."""
        if not 0 <= token_id < self.logits.shape[-1]:
            raise InputError(f"there is no token {token_id} in a vocabulary of {self.logits.shape[-1]}")
        logits = self.logits.clone()
        logits[row] = float("-inf")
        logits[row, token_id] = 0.0
        self.logits = logits

    def finish(self, row: int) -> None:
        """End `row` here, as if the model had stopped by itself; no further token is taken."""
        self.batch.rows[row].ending = "end"
        active = self.active.clone()
        active[row] = False
        self.active = active

    def fork(self) -> Fork:
        """A copy of the cache at this point, to try tokens on.

        Raises:
            ModelError: The model keeps no cache that can be copied.
        """
        fork = self.fork_source()
        if fork is None:
            raise ModelError(f"{type(self.batch.model.model).__name__} keeps no cache, so a control cannot look ahead")
        return fork


StepFunction: TypeAlias = Callable[[Step], None]
"""What a control does at each step: looks at the `Step`, and may assign its logits, force tokens or end rows."""


@runtime_checkable
class Control(Protocol):
    """Something that acts while a local model decodes."""

    @property
    def logits_only(self) -> bool:
        """Whether it leaves the model's states alone, so that a prompt prefix may be computed once for all rows."""
        ...

    def scope(self, batch: Batch) -> AbstractContextManager[StepFunction | None]:
        """The scope of one batch.

        Entering installs whatever the control needs, leaving removes it. The value is called at each step, or is None
        when the control works through hooks alone.
        """
        ...

"""What an audit would cost, before it is begun: requests, tokens and money for each task, from its real prompts.

Without a model's own tokenizer the number of its tokens is not known, only bounded: English text has about four
characters to a token, other scripts fewer. So prompts are given as a range, and answers as the most that they can be.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from demur.inspect_ext.budget import Budget, Price
from demur.studies.planning import Plan

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.model import ChatMessage

__all__ = ["Estimate", "TaskEstimate", "estimate"]

# Bytes of UTF-8 to a token, from the densest tokenizers on English prose to byte-like ones on scripts they know badly.
_MOST_BYTES, _FEWEST_BYTES = 5.0, 2.0

# What a chat template puts around a message.
_MESSAGE_TOKENS = (3, 16)

# Where neither the task nor the user sets a limit, the provider's own default counts, which is not known here.
_UNKNOWN_ANSWER = 4096


class TaskEstimate(BaseModel):
    """The forecast for one task."""

    model_config = ConfigDict(frozen=True)

    task: str
    """Its name; for judges `TASK, judged by MODEL`."""
    model: str
    """Who is asked."""
    requests: int
    """Requests without retries; for judges the most there can be."""
    tokens_in_low: int
    """Tokens of the prompts, at least."""
    tokens_in_high: int
    """Tokens of the prompts, at most."""
    tokens_out_high: int
    """Tokens of the answers, at most."""
    cost_high: float | None
    """Money at most; None where the model has no price."""


class Estimate(BaseModel):
    """The forecast for an audit."""

    model_config = ConfigDict(frozen=True)

    tasks: tuple[TaskEstimate, ...]
    """Task by task, judges after the task that they judge."""
    requests: int
    """Requests in all."""
    tokens_high: int
    """Tokens in all, at most."""
    cost_high: float | None
    """Money in all, at most; None where a price is missing."""
    over_budget: tuple[str, ...]
    """Which limits of the budget the most that can happen would break."""


def estimate(plan: Plan) -> Estimate:
    """The forecast for `plan`; nothing is asked of any model."""
    prices, found = plan.settings.prices, []
    for name, task in plan.tasks.items():
        asked = _asked(plan, task)
        longest = plan.settings.max_tokens or task.config.max_tokens or _UNKNOWN_ANSWER
        count = plan.samples[name]
        low, high = (sum(sizes) * plan.settings.epochs for sizes in zip(*asked, strict=True))
        model = str(plan.model)
        found.append(_forecast(name, model, count, low, high, count * longest, prices.get(model)))
        found += [
            _judged(name, judge, plan.settings.rubric, (count, low, high, longest), prices.get(judge))
            for judge in plan.settings.judges
        ]
    requests = sum(one.requests for one in found)
    tokens = sum(one.tokens_in_high + one.tokens_out_high for one in found)
    costs = [one.cost_high for one in found]
    cost = None if any(one is None for one in costs) else sum(one for one in costs if one is not None)
    return Estimate(
        tasks=tuple(found),
        requests=requests,
        tokens_high=tokens,
        cost_high=cost,
        over_budget=tuple(_broken(plan.settings.budget, requests, tokens, cost)),
    )


def _forecast(task: str, model: str, requests: int, low: int, high: int, out: int, price: Price | None) -> TaskEstimate:
    return TaskEstimate(
        task=task,
        model=model,
        requests=requests,
        tokens_in_low=low,
        tokens_in_high=high,
        tokens_out_high=out,
        cost_high=None if price is None else price.of(high, out),
    )


def _judged(
    task: str, judge: str, rubric: Path | None, sizes: tuple[int, int, int, int], price: Price | None
) -> TaskEstimate:
    """A judge reads the rubric, the prompt and the answer of every sample at most, and writes a line."""
    from demur.inspect_ext.judging import MAX_TOKENS
    from demur.records import Response
    from demur.responses.rubric import Rubric, render

    count, low, high, longest = sizes
    shown = render(Rubric.find(rubric or "refusal"), "-", Response(text="-"))
    own = sum(len(str(message["content"]).encode()) for message in shown)
    return _forecast(
        f"{task}, judged by {judge}",
        judge,
        count,
        low + int(count * own / _MOST_BYTES),
        high + count * (int(own / _FEWEST_BYTES) + longest),
        count * MAX_TOKENS,
        price,
    )


def _asked(plan: Plan, task: Task) -> list[tuple[int, int]]:
    """Bounds of the tokens of each prompt that will be asked, once."""
    samples = list(task.dataset)[: plan.settings.limit]
    tools = _tool_bytes(plan)
    return [_bounds(sample.input, tools) for sample in samples]


def _bounds(conversation: str | Iterable[ChatMessage], extra: int) -> tuple[int, int]:
    texts = [conversation] if isinstance(conversation, str) else [message.text for message in conversation]
    size = sum(len(text.encode()) for text in texts) + extra
    fewest, most = _MESSAGE_TOKENS
    return int(size / _MOST_BYTES) + fewest * len(texts), int(size / _FEWEST_BYTES) + most * len(texts)


def _tool_bytes(plan: Plan) -> int:
    return plan.settings.tools.stat().st_size if plan.settings.tools else 0


def _broken(budget: Budget, requests: int, tokens: int, cost: float | None) -> list[str]:
    limits: list[tuple[str, Any, Any]] = [
        ("requests", budget.requests, requests),
        ("tokens", budget.tokens, tokens),
        ("money", budget.money, cost),
    ]
    return [name for name, limit, most in limits if limit is not None and most is not None and most > limit]

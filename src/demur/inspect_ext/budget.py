"""What a run may spend, what it has spent, and when to stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Budget", "Price", "Spending"]

_PER = 1_000_000


class Price(BaseModel):
    """What a provider charges for one model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0.0)
    """Money for a million tokens read."""
    output: float = Field(ge=0.0)
    """Money for a million tokens written, reasoning included."""

    def of(self, tokens_in: float, tokens_out: float) -> float:
        """The money that so many tokens cost."""
        return (tokens_in * self.input + tokens_out * self.output) / _PER


class Budget(BaseModel):
    """The most that a run may spend on all its models together, what it received before it was resumed included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: int | None = Field(default=None, ge=1)
    """Attempts, failed ones included."""
    tokens: int | None = Field(default=None, ge=1)
    """Tokens read and written."""
    money: float | None = Field(default=None, gt=0.0)
    """In the currency of the prices, which must be given for every model that is asked."""

    def exceeded(self, spent: Spending) -> str | None:
        """Which limit is reached, in words, or None while all of them hold."""
        if self.requests is not None and spent.requests >= self.requests:
            return f"the budget of {self.requests:,} requests is used up"
        if self.tokens is not None and spent.tokens >= self.tokens:
            return f"the budget of {self.tokens:,} tokens is used up ({spent.tokens:,} were used)"
        if self.money is not None and spent.money >= self.money:
            return f"the budget of {self.money:,.2f} is used up ({spent.money:,.2f} was spent)"
        return None


@dataclass
class Spending:
    """What was spent so far. Tokens are those that providers report; a reply without a count adds none."""

    prices: Mapping[str, Price] = field(default_factory=dict)
    """Prices by the model's full name; a model without one adds no money."""
    requests: int = 0
    """Attempts that were made, and earlier ones whose replies the journal holds."""
    tokens_in: int = 0
    tokens_out: int = 0
    money: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return self.tokens_in + self.tokens_out

    def add_reply(self, model: str, usage: Any) -> None:
        """Adds what a reply cost; `usage` is Inspect's record of its tokens, or None."""
        if usage is None:
            return
        # providers report what came from or went into their prompt cache apart; it was read all the same
        read = usage.input_tokens + (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
        self.tokens_in += read
        self.tokens_out += usage.output_tokens
        if model in self.prices:
            self.money += self.prices[model].of(read, usage.output_tokens)

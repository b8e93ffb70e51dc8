"""What a judge says about one exchange, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from demur.records import Response, Verdict
from demur.responses.rubric import Part

__all__ = ["AnyJudge", "Judged", "Spent"]


@dataclass
class Spent:
    """What judging has cost. What came from a journal, or was asked before, cost nothing."""

    requests: int = 0
    """Attempts that reached the provider's code."""
    replayed: int = 0
    """Replies that came from the journal, and exchanges that had been judged before."""
    tokens_in: int = 0
    """Tokens read by judges, cached ones included."""
    tokens_out: int = 0
    """Tokens written by judges, reasoning included."""
    money: float = 0.0
    """What the replies with a known price cost."""
    unpriced: int = 0
    """Replies whose price is not known."""

    def __add__(self, other: Spent) -> Spent:
        return Spent(**{name: getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__})

    @property
    def cost(self) -> float | None:
        """The money spent, or None when the price of a reply is not known."""
        return None if self.unpriced else self.money

    def as_row(self) -> dict[str, Any]:
        """For logs: the counts and `cost`."""
        return {
            "requests": self.requests,
            "replayed": self.replayed,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "cost": self.cost,
        }


@dataclass(frozen=True)
class Judged:
    """What a judge made of one exchange."""

    judge: str
    """The judge's name."""
    verdict: Verdict
    """The verdict; `unscored` when the judge failed."""
    label: str | None = None
    """The rubric's label, or None when there is none."""
    raw: str = ""
    """The judge's last reply, word for word, without what it thought before."""
    failure: str | None = None
    """Why there is no label, or None."""
    confidence: float | None = None
    """What the judge says of its own certainty; not calibrated."""
    spent: Spent = field(default_factory=Spent)
    """What this judgement cost."""
    cached: bool = False
    """Whether nothing had to be asked for it."""
    members: tuple[Judged, ...] = ()
    """What each judge of a panel made of it."""

    def as_row(self) -> dict[str, Any]:
        """For logs and metadata: everything as JSON, without the verdict's own fields."""
        row = {
            "judge": self.judge,
            "kind": self.verdict.kind.value,
            "label": self.label,
            "failure": self.failure,
            "confidence": self.confidence,
            "cached": self.cached,
            "usage": self.spent.as_row(),
        }
        return row | ({"members": [one.as_row() for one in self.members]} if self.members else {"raw": self.raw})


class AnyJudge(Protocol):
    """What can be asked for a judgement: one model, or a panel."""

    @property
    def name(self) -> str:
        """How verdicts name it: `judge:NAME`."""

    @property
    def spent(self) -> Spent:
        """What it has cost so far."""

    async def judge(self, prompt: str | None, response: Response | str, *, part: Part = "answer") -> Judged:
        """What the response does."""

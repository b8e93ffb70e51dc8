"""Choosing one refusal direction by what it does: removed, refusal falls; added, it rises; and little else changes.

The rule is published: the lowest refusal under ablation among candidates that pass the filters on KL and addition and
lie outside the last layers. It names one winner, so most of the table need not be known: a candidate is asked about one
prompt after another, on whichever score settles it sooner, until it is proven that it fails a filter or cannot have the
lowest score. Log-odds have bounds and KL has none below zero, so what has been seen of a mean bounds all of it.

Source: Arditi et al. 2024, arXiv 2406.11717.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from demur.errors import InputError
from demur.states.notebook import html_table
from demur.states.scoring import HIGHEST, Scorer
from demur.states.screening import first_order

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.records import Prompt
    from demur.states.direction import Direction

__all__ = ["Candidate", "Effort", "Selection", "select_direction"]

Effort = Literal["all", "exact", "screened"]
"""How much is scored.

`all`: every candidate on every prompt, three times. `exact`: what proves the winner; it is the same one. `screened`:
the most promising only, by two prompts for the filters and to first order for ablation, and of those each until four
standard errors of what was seen, in the place of a proof, say that it fails; a winner which these rank low is missed.
"""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One candidate and its scores; a score is None where the candidate was settled before it was known.

    Attributes:
        direction: The candidate.
        ablation: Mean log-odds of refusal of harmful prompts with the direction removed; lower is better.
        addition: Mean log-odds of refusal of harmless prompts with the direction added; higher is better.
        kl: Mean KL divergence of the next token on harmless prompts, from the untouched model to the ablated one.
        fails: What it is known to fail: `kl`, `addition` or `ablation` (it cannot have the lowest score); None for a
            candidate that passes, or that nobody needed to know more about.
    """

    direction: Direction
    ablation: float | None
    addition: float | None
    kl: float | None
    fails: Literal["kl", "addition", "ablation"] | None


@dataclass(frozen=True, eq=False)
class Selection:
    """The chosen direction and what was scored.

    Attributes:
        best: The candidate with the lowest ablation score among those that pass; its scores are complete.
        candidates: All that were asked about, best first, those without an ablation score last.
        random: Random directions of the winner's norm and layer, removed and added; without KL.
        baseline: Mean log-odds of refusal of harmful and of harmless prompts, untouched.
        screened: How many candidates the screen dropped; 0 when none was dropped unasked.
        read: Prompts that were run, and how many the whole table without random directions would have run.
    """

    best: Candidate
    candidates: tuple[Candidate, ...]
    random: tuple[Candidate, ...]
    baseline: tuple[float, float]
    screened: int
    read: tuple[int, int]

    def _repr_html_(self) -> str:
        head = ("direction", "layer", "position", "ablation", "addition", "KL", "fails")
        rows = [
            (
                c.direction.kind,
                c.direction.layer,
                c.direction.position,
                *(None if n is None else f"{n:.4g}" for n in (c.ablation, c.addition, c.kl)),
                c.fails,
            )
            for c in (*self.candidates, *self.random)
        ]
        harmful, harmless = self.baseline
        caption = f"Log-odds of refusal; untouched: harmful {harmful:.3f}, harmless {harmless:.3f}"
        return html_table(caption, head, rows)


def select_direction(
    model: LocalModel,
    candidates: Sequence[Direction],
    *,
    harmful: Sequence[Prompt],
    harmless: Sequence[Prompt],
    refusal_tokens: Sequence[int],
    effort: Effort = "exact",
    keep: int | None = None,
    last: float = 0.2,
    most_kl: float = 0.1,
    random: int = 3,
    seed: int = 0,
    batch_size: int = 32,
) -> Selection:
    """Choose the best direction.

    Args:
        model: A local model.
        candidates: Directions of refusal at layers and positions.
        harmful: Prompts whose refusal should fall; others than the candidates were fitted on.
        harmless: Prompts whose refusal should rise when a candidate is added, and that ablation should leave alone.
        refusal_tokens: First tokens of a refusal.
        effort: How much is scored.
        keep: Candidates that the screen keeps, the next so many where none of them passes; None keeps an eighth of
            them and at least 6.
        last: Share of the last layers whose candidates are left out: a direction there is the answer's own token.
        most_kl: Highest divergence that passes.
        random: Random directions to score beside the winner, at least 1.
        seed: Of the random directions.
        batch_size: Rows at once; a row is one prompt under one candidate.

    Raises:
        InputError: There are no candidates or prompts, none lies outside the last layers, or none passes the filters.
    """
    if not candidates or not harmful or not harmless or random < 1 or (keep is not None and keep < 1):
        raise InputError("choosing a direction needs candidates, harmful and harmless prompts, and a random direction")
    if effort not in ("all", "exact", "screened"):
        raise InputError(f"effort must be all, exact or screened, got {effort!r}")
    # candidate l is what leaves block l, so it enters block l + 1
    end = int(len(model.structure) * (1 - last))
    allowed = [c for c in candidates if c.layer + 1 < end or last <= 0]
    # where all prompts share every token so far, as at layer 0 before attention, there is no direction at all
    allowed = [c for c in allowed if c.norm > 0]
    if not allowed:
        raise InputError(
            f"all {len(candidates)} candidates are zero or lie in the last {last:.0%} of {len(model.structure)} "
            "layers; give candidates of earlier layers, or a smaller share as last="
        )
    scorer = Scorer(model, harmful=harmful, harmless=harmless, tokens=refusal_tokens, batch_size=batch_size)
    race = _Race(scorer, most_kl, [_Lane(c) for c in allowed])
    if effort == "screened":
        asked, best = _screened(race, scorer, keep or max(6, math.ceil(len(allowed) / 8)), refusal_tokens)
    else:
        asked, best = race.lanes, race.everything() if effort == "all" else race.run()
    if best is None:
        raise InputError(_why_none(asked, most_kl))
    noise = _Race(scorer, most_kl, [_Lane(best.direction.random(seed + number)) for number in range(random)])
    # how little a random direction changes harmless answers is no comparison
    noise.everything(("ablation", "addition"))
    rest = [lane for lane in asked if lane is not best]
    rest.sort(key=lambda lane: (lane.fails not in (None, "ablation"), lane.known("ablation") is None, lane.lead()))
    return Selection(
        best=best.told(),
        candidates=tuple(lane.told() for lane in (best, *rest)),
        random=tuple(lane.told() for lane in noise.lanes),
        baseline=scorer.baseline,
        screened=len(allowed) - len(asked),
        read=(scorer.read, (1 + len(allowed)) * (len(harmful) + len(harmless)) + len(allowed) * len(harmless)),
    )


_Score = Literal["ablation", "kl", "addition"]
_FILTERS: tuple[_Score, ...] = ("kl", "addition")
_FEWEST = 6  # prompts whose spread says anything
_SLOPES = 16  # prompts that gradients are taken on


@dataclass(eq=False)
class _Lane:
    """A candidate and its scores so far, one a prompt, in the order of the prompts."""

    direction: Direction
    seen: dict[_Score, list[float]] = field(default_factory=lambda: {"ablation": [], "kl": [], "addition": []})
    wanted: dict[_Score, int] = field(default_factory=dict)
    fails: Literal["kl", "addition", "ablation"] | None = None
    passes: bool = False

    def mean(self, score: _Score) -> float:
        """The mean over the prompts that were asked."""
        return math.fsum(self.seen[score]) / len(self.seen[score])

    def lead(self) -> float:
        """What lanes are ranked by."""
        return self.mean("ablation")

    def known(self, score: _Score) -> float | None:
        """The mean over all prompts, once all were asked."""
        return self.mean(score) if len(self.seen[score]) == self.wanted[score] else None

    def bound(self, score: _Score, outside: float) -> float:
        """The mean if every prompt that was not asked had the value `outside`."""
        values = self.seen[score]
        return (math.fsum(values) + (self.wanted[score] - len(values)) * outside) / self.wanted[score]

    def told(self) -> Candidate:
        added = self.known("addition")
        return Candidate(
            self.direction,
            ablation=self.known("ablation"),
            addition=None if added is None else -added,
            kl=self.known("kl"),
            fails=self.fails,
        )


class _Race:
    """Asks about candidates until the rule's winner among them is proven."""

    def __init__(self, scorer: Scorer, most_kl: float, lanes: Sequence[_Lane], *, sampled: bool = False) -> None:
        self._scorer, self._most_kl, self.lanes = scorer, most_kl, list(lanes)
        self._ask: dict[_Score, Callable[[Sequence[tuple[Direction, int]]], Tensor]] = {
            # of two that may settle a lane equally late, the rule's own score first
            "ablation": scorer.ablation,
            "kl": scorer.divergence,
            "addition": scorer.addition,
        }
        harmful, harmless = len(scorer.harmful), len(scorer.harmless)
        for lane in self.lanes:
            lane.wanted = {"kl": harmless, "ablation": harmful, "addition": harmless}
        # a few prompts at a time, so that a lane can stop early; several lanes fill a batch
        self._step: dict[_Score, int] = {s: max(1, n // 16) for s, n in lanes[0].wanted.items()}
        self._best: _Lane | None = None
        self._sampled = sampled

    def look(self, score: _Score, count: int) -> None:
        """Ask all about a few prompts."""
        self._advance(self.lanes, score, count)

    def everything(self, scores: Sequence[_Score] = ("kl", "ablation", "addition")) -> _Lane | None:
        """Ask all about everything and return the winner."""
        for score in scores:
            self._advance(self.lanes, score, self.lanes[0].wanted[score])
        for lane in self.lanes:
            self._judge(lane)
        passing = [lane for lane in self.lanes if lane.passes]
        return min(passing, key=lambda lane: lane.bound("ablation", 0.0), default=None)

    def run(self) -> _Lane | None:
        """The winner, or None when no candidate passes."""
        self._advance(self.lanes, "ablation", 2 * self._step["ablation"])
        while open_ := [lane for lane in self.lanes if lane.fails is None and not lane.passes]:
            # once one candidate stands, the others need only be proven worse than it: that is done side by side.
            # Of those that are known to be better, the first in line is asked whether it passes
            known = [lane for lane in open_ if lane.known("ablation") is not None]
            asked = [lane for lane in open_ if lane not in known] if self._best else []
            asked += [min(known or open_, key=_Lane.lead)] if known or not self._best else []
            chosen: dict[_Score, list[_Lane]] = {score: [] for score in self._ask}
            for lane in asked:
                unknown = [score for score in self._ask if lane.known(score) is None]
                chosen[min(unknown, key=lambda score: self._left(lane, score))].append(lane)
            for score, lanes in chosen.items():
                first = [lane for lane in lanes if not lane.seen[score] or self._best]
                fill = self._scorer.batch_size // max(1, len(first)) if self._best else 0
                self._advance(first, score, max(self._step[score], fill))
                # after a look, a lone candidate fills a batch by itself
                self._advance(
                    [lane for lane in lanes if lane not in first], score, lanes[0].wanted[score] if lanes else 0
                )
            for lane in asked:
                self._judge(lane)
            for lane in asked:
                if lane.passes and (self._best is None or lane.lead() < self._best.lead()):
                    self._best = lane
            for lane in open_:
                self._judge(lane)
        return self._best

    def among(self, lanes: Sequence[_Lane]) -> _Race:
        """The race between some of the candidates, with what is known of them, decided by samples."""
        return _Race(self._scorer, self._most_kl, lanes, sampled=True)

    def beyond(self, lane: _Lane, score: _Score) -> float:
        """How far what has been seen of a lane is beyond a filter, 0 where it would pass or was not looked at."""
        return max(0.0, lane.mean(score) - self._line(score)[0]) if lane.seen[score] else 0.0

    def _line(self, score: _Score) -> tuple[float, float]:
        """What a mean must be above to fail, and the least that a prompt can have; addition has its sign turned."""
        if score == "kl":
            return self._most_kl, 0.0
        if score == "addition":
            return 0.0, -HIGHEST
        return math.inf if self._best is None else self._best.lead(), -HIGHEST

    def _left(self, lane: _Lane, score: _Score) -> float:
        """What it would cost to prove that the lane fails, if other prompts were like those seen, in whole passes."""
        # the blocks before an addition are not run
        cost = 1 - (lane.direction.layer + 1) / self._scorer.depth if score == "addition" else 1.0
        if not lane.seen[score]:
            return self._step[score] * cost  # worth a look
        line, outside = self._line(score)
        mean = lane.mean(score)
        if mean <= line:
            return math.inf
        return (line - lane.bound(score, outside)) * lane.wanted[score] / (mean - outside) * cost

    def _judge(self, lane: _Lane) -> None:
        """Say what is proven of a lane."""
        for score in self._ask:
            line, outside = self._line(score)
            if lane is not self._best and (lane.bound(score, outside) > line or self._seems(lane, score)):
                lane.fails = score
                return
        lane.passes = all(lane.known(score) is not None for score in self._ask)

    def _seems(self, lane: _Lane, score: _Score) -> bool:
        """Whether the prompts seen put a lane beyond the line by four standard errors; the best, prompt by prompt."""
        values = lane.seen[score]
        if not self._sampled or len(values) < _FEWEST or (score == "ablation" and self._best is None):
            return False
        if score == "ablation" and self._best is not None:
            beyond = [own - best for own, best in zip(values, self._best.seen[score], strict=False)]
        else:
            beyond = [value - self._line(score)[0] for value in values]
        mean = math.fsum(beyond) / len(beyond)
        variance = math.fsum((one - mean) ** 2 for one in beyond) / (len(beyond) - 1)
        return mean > 4 * math.sqrt(variance / len(beyond))

    def _advance(self, lanes: Sequence[_Lane], score: _Score, count: int) -> None:
        pairs = [
            (lane, number)
            for lane in lanes
            for number in range(len(lane.seen[score]), min(len(lane.seen[score]) + count, lane.wanted[score]))
        ]
        if pairs:
            sign = -1.0 if score == "addition" else 1.0
            found = self._ask[score]([(lane.direction, number) for lane, number in pairs])
            for (lane, _), value in zip(pairs, found.tolist(), strict=True):
                lane.seen[score].append(sign * value)


def _screened(race: _Race, scorer: Scorer, size: int, tokens: Sequence[int]) -> tuple[list[_Lane], _Lane | None]:
    """The winner among the most promising `size`, or among the next so many where none of them passes."""
    # two prompts tell which side of a filter a candidate is on, unless it is near the line; gradients do not
    race.look("addition", 2)
    pushed = sorted(race.lanes, key=lambda lane: race.beyond(lane, "addition"))
    likely = pushed[: max(2 * size, sum(race.beyond(lane, "addition") == 0 for lane in pushed))]
    race.among(likely).look("kl", 2)
    some = scorer.harmful[:: max(1, len(scorer.harmful) // _SLOPES)]
    directions = [lane.direction for lane in race.lanes]
    change = first_order(scorer.model, some, directions, tokens, batch_size=scorer.batch_size).tolist()
    # those that seem to pass by what ablation promises, then the others by how little they seem to fail
    beyond = [sum(race.beyond(lane, score) for score in _FILTERS) for lane in race.lanes]
    order = sorted(range(len(change)), key=lambda n: (not race.lanes[n].seen["kl"], beyond[n], change[n]))
    asked: list[_Lane] = []
    for start in range(0, len(order), size):
        group = [race.lanes[n] for n in order[start : start + size]]
        asked += group
        if best := race.among(group).run():
            return asked, best
    return asked, None


def _why_none(lanes: Sequence[_Lane], most_kl: float) -> str:
    diverging = sum(lane.fails == "kl" for lane in lanes)
    least = min(lane.bound("kl", 0.0) for lane in lanes)
    added = [-found for lane in lanes if (found := lane.known("addition")) is not None]
    highest = f" (the highest mean log-odds after adding is {max(added):.3g})" if added else ""
    return (
        f"none of {len(lanes)} candidates passes: {diverging} change harmless answers too much (a KL above "
        f"{most_kl:.3g}; the least is {least:.3g} or more), and {len(lanes) - diverging} do not make harmless prompts "
        f"refused when they are added{highest}. Give other candidates, or raise most_kl"
    )

"""Whether a small set of heads moves refusal more than random sets of the same size.

The heads should have been chosen on other prompts. Without random sets a fall or a rise says nothing: switching off any
few heads of a small model changes its answers.

Source: "Refusal Falls off a Cliff", arXiv 2510.06036, for ablating a share of the heads beside random ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
from torch import Tensor

from demur.errors import InputError
from demur.states.head_attribution import Measure, measured
from demur.states.heads import Head, Rescale, heads_of, scaling_heads
from demur.states.notebook import html_table

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.models.request import ChatLike
    from demur.stats import Interval

__all__ = ["HeadSetTest", "compare_head_set"]


@dataclass(frozen=True)
class HeadSetTest:
    """A set of heads switched off beside random sets of the same size.

    Attributes:
        heads: The set.
        side: Whether its heads should write `against` refusal, so that it rises without them, or `for` it.
        before: Mean of the measure with all heads.
        change: Mean change of the measure without the set, with its 95% bootstrap interval over the chats.
        random: Mean change without each random set.
        total: Heads of the model.
        every: Whether `random` holds every other set of that size, because there are no more.
    """

    heads: tuple[Head, ...]
    side: Literal["against", "for"]
    before: float
    change: Interval
    random: tuple[float, ...]
    total: int
    every: bool

    @property
    def percentile(self) -> float:
        """Share of random sets that move the measure less in the expected way, from 0 to 1."""
        sign = 1 if self.side == "against" else -1
        return sum(sign * other < sign * self.change.value for other in self.random) / len(self.random)

    @property
    def p(self) -> float:
        """Chance of a set that moves it as much, among the random ones and this one."""
        sign = 1 if self.side == "against" else -1
        return (1 + sum(sign * other >= sign * self.change.value for other in self.random)) / (1 + len(self.random))

    @property
    def found(self) -> bool:
        """Whether the set moves refusal the expected way, and further than 95% of the random sets do."""
        expected = self.change.low > 0 if self.side == "against" else self.change.high < 0
        return expected and self.percentile >= 0.95

    def __str__(self) -> str:
        share = f"{len(self.heads)} of {self.total} heads"
        moved = f"{self.change.value:+.3f} [{self.change.low:+.3f}, {self.change.high:+.3f}]"
        beside = f"further than {self.percentile:.1%} of {len(self.random)} random sets of that size"
        if self.found:
            return f"without {share} refusal moves by {moved}, {beside}"
        return f"no small set does it: without {share} refusal moves by {moved}, {beside} (needed: 95%)"

    def _repr_html_(self) -> str:
        quantiles = [float(q) for q in np.quantile(self.random, [0.05, 0.5, 0.95])]
        rows = [
            ("heads", " ".join(map(str, self.heads))),
            ("change without them", self.change.value),
            ("95% interval", f"{self.change.low:.3f} to {self.change.high:.3f}"),
            ("random sets: 5%, 50%, 95%", ", ".join(f"{q:.3f}" for q in quantiles)),
            ("percentile", self.percentile),
            ("p", self.p),
        ]
        return html_table(str(self), ("", f"n = {self.change.n}"), rows)


def compare_head_set(
    model: LocalModel,
    chats: Sequence[ChatLike],
    measure: Measure,
    heads: Sequence[tuple[int, int]],
    *,
    side: Literal["against", "for"] = "against",
    random: int = 200,
    means: Mapping[tuple[int, int], Tensor] | None = None,
    rescale: Rescale = "position",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> HeadSetTest:
    """Switch off a set of heads, and random sets of the same size beside it.

    Args:
        model: A local model.
        chats: What it is asked: others than those that chose the heads.
        measure: See `demur.states.head_attribution`.
        heads: The set, such as `HeadScores.top(0.03)`.
        side: Whether they should write against refusal or for it.
        random: Different random sets, at least 20; where fewer sets of that size exist, all of them.
        means: See `scaling_heads`; None switches off with zeros.
        rescale: See `scaling_heads`.
        seed: Of the random sets.
        progress: Called with the sets done and their number.

    Raises:
        InputError: There is no such head, no head or no other set, or the measure gives something else than one finite
            number a chat.
    """
    from demur.stats import cluster_bootstrap

    if side not in ("against", "for") or random < 20:
        raise InputError(f"side must be against or for and random at least 20, got {side!r} and {random}")
    every, chosen = heads_of(model), tuple(sorted({Head(*head) for head in heads}))
    if not 0 < len(chosen) < len(every):
        raise InputError(f"a set takes some of the {len(every)} heads but not all, got {len(chosen)}")
    before = measured(model, chats, measure)

    def change(members: Sequence[Head]) -> Tensor:
        with scaling_heads(model, members, means=means, rescale=rescale):
            return measured(model, chats, measure) - before

    own = change(chosen)
    sets = list(_others(every, chosen, random, seed))
    moved = []
    for done, members in enumerate(sets, 1):
        moved.append(float(change(members).mean()))
        if progress is not None:
            progress(done, len(sets))
    return HeadSetTest(
        heads=chosen,
        side=side,
        before=float(before.mean()),
        change=cluster_bootstrap(own.numpy(), seed=seed),
        random=tuple(moved),
        total=len(every),
        every=len(sets) == math.comb(len(every), len(chosen)) - 1,
    )


def _others(every: Sequence[Head], chosen: tuple[Head, ...], count: int, seed: int) -> Iterator[tuple[Head, ...]]:
    """Different sets of the size of `chosen`, other than it: `count` at random, or all where there are no more."""
    size = len(chosen)
    if math.comb(len(every), size) - 1 <= count:
        yield from (members for members in combinations(every, size) if members != chosen)
        return
    rng = np.random.default_rng(seed)
    seen = {chosen}
    while len(seen) <= count:
        members = tuple(every[n] for n in sorted(rng.choice(len(every), size, replace=False).tolist()))
        if members not in seen:
            seen.add(members)
            yield members

"""The refusal cliff: how far the probability of refusing falls between reasoning and answer.

Where a model means to refuse while it thinks and answers all the same, the score of a refusal probe stays on a plateau
and falls at the closing tokens. The size of the fall can be measured chat by chat, and chats can be ranked by it.

Source: "Refusal Falls off a Cliff", arXiv 2510.06036. The size of the cliff is the paper's misalignment score, plateau
minus final; the released code ranks by the final score alone (`released`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from demur.errors import InputError
from demur.states.notebook import html_table
from demur.states.probe import Probe
from demur.states.refusal_path import MeanPath, RefusalPath, mean_path, score_paths
from demur.stats import Interval, cluster_bootstrap
from demur.stats.bootstrap import percentile_ends, resample_sums
from demur.stats.inputs import as_clusters

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.models.request import ChatLike

__all__ = [
    "Cliff",
    "Cliffs",
    "DropDifference",
    "Measure",
    "Over",
    "Plateau",
    "measure_cliff",
    "measure_cliffs",
    "rank_cliffs",
]

Plateau = Literal["top", "max"]
"""How the plateau is read: the mean of the highest tenth of the scores, or the highest alone."""
Over = Literal["reasoning", "prompt"]
"""Where the plateau is read: in the reasoning, as published, or in the instruction, for models that do not reason."""
Measure = Literal["drop", "released"]
"""What chats are ranked by: the size of the cliff, largest first, or, as the released code does, the final score alone,
lowest first."""


class Cliff(NamedTuple):
    """The cliff of one chat."""

    plateau: float
    """Level before the fall, in [0, 1]."""
    highest: float
    """The highest score where the plateau is read."""
    final: float
    """Score at the last token before the answer."""
    drop: float
    """Plateau minus final: the paper's misalignment score. Negative where the score rises."""
    location: int | None
    """The last token before the steepest fall; None where the score never falls. Without a drop it is noise."""
    fall: float
    """How far the score falls in that one step."""
    tokens: int
    """How many tokens the plateau was read from."""


def measure_cliff(path: RefusalPath, *, plateau: Plateau = "top", over: Over = "reasoning", margin: int = 8) -> Cliff:
    """The cliff of one chat.

    Args:
        path: As `score_paths` gives it.
        plateau: How the level is read. The paper takes a maximum over the reasoning; the mean of the highest tenth
            is less at the mercy of one token. Both are upward biased on noise: read them beside `Probe.random`.
        over: Where it is read.
        margin: How many last tokens of that part are left out, because the fall may begin in them; never more than
            half of it.

    Raises:
        InputError: The chat has no reasoning, the template no tokens after the instruction, or an option is unknown.
    """
    if plateau not in get_args(Plateau) or over not in get_args(Over) or margin < 0:
        raise InputError(
            f"plateau must be one of {', '.join(get_args(Plateau))}, over one of {', '.join(get_args(Over))} and "
            f"margin at least 0; got {plateau!r}, {over!r} and {margin}"
        )
    part = path.segments.get("reasoning" if over == "reasoning" else "instruction")
    if part is None:
        raise InputError(
            "the chat has no reasoning that a plateau could be read in; close some with closed_reasoning, or read the "
            "cliff over the prompt (over='prompt')"
        )
    if path.final < part.stop:
        raise InputError(
            f"there are no template tokens between the {over} and the answer, so there is no final score apart from "
            "the plateau"
        )
    scores = path.scores.double().numpy()
    level = np.sort(scores[part.start : part.stop - min(margin, len(part) // 2)])[::-1]
    top, highest = float(level[: max(1, round(len(level) / 10))].mean()), float(level[0])
    steps = np.diff(scores[part.start : path.final + 1])
    steepest = int(steps.argmin())
    taken, final = top if plateau == "top" else highest, float(scores[path.final])
    location = part.start + steepest if steps[steepest] < 0 else None
    return Cliff(taken, highest, final, taken - final, location, max(0.0, float(-steps[steepest])), len(level))


def rank_cliffs(drop: Sequence[float], final: Sequence[float], measure: Measure = "drop") -> list[int]:
    """Numbers of the chats, the first to be selected first; ties keep their order.

    Differences below a ten-thousandth are ties: in single precision they depend on which chats share a batch.

    Args:
        drop: Of each chat's cliff.
        final: Of each chat's cliff.
        measure: See `Measure`.

    Raises:
        InputError: The measure is unknown.
    """
    if measure not in get_args(Measure):
        raise InputError(f"measure must be one of {', '.join(get_args(Measure))}, got {measure!r}")
    keys = [round(one, 4) for one in (final if measure == "released" else [-one for one in drop])]
    return sorted(range(len(keys)), key=keys.__getitem__)


class DropDifference(NamedTuple):
    """How much further one set of chats falls than another."""

    difference: Interval
    """Of the mean drops, with its 95% interval over families."""
    null: tuple[float, ...]
    """The same under each random direction."""


@dataclass(frozen=True, eq=False)
class Cliffs:
    """The cliffs of several chats.

    Attributes:
        paths: One a chat.
        cliffs: One a chat.
        drop: Mean drop with its 95% interval over families.
        plateau: Mean level of the plateau.
        final: Mean final score.
        null: Mean drop of the same chats under each of some random directions of equal norm: what a drop of this size
            is worth, because a plateau is the best of many tokens and so above the final score even on noise.
        mean: The masked average of the paths.
        where: How many chats fall steepest in each segment, counted at the token before the fall.
        families: One a chat; chats that are not independent share one.
    """

    paths: tuple[RefusalPath, ...]
    cliffs: tuple[Cliff, ...]
    drop: Interval
    plateau: Interval
    final: Interval
    null: tuple[float, ...]
    mean: MeanPath
    where: dict[str, int]
    families: tuple[Hashable, ...]

    def above(self, other: Cliffs, *, seed: int = 0) -> DropDifference:
        """How much further these chats fall than others.

        A plateau is the best of many tokens, so the score of any direction drops. Between two sets of chats that are
        read alike it drops alike, which a single drop cannot tell.

        Args:
            other: Read with the same probe, random directions and seed.
            seed: Of the bootstrap over families.

        Raises:
            InputError: The two were read beside other numbers of random directions.
        """
        if len(self.null) != len(other.null):
            raise InputError(f"the cliffs stand beside {len(self.null)} and {len(other.null)} random directions")
        drops = np.array([one.drop for one in (*self.cliffs, *other.cliffs)])
        mine = np.arange(len(drops)) < len(self.cliffs)
        codes = as_clusters([*self.families, *other.families], len(drops))
        columns = np.column_stack([drops * mine, mine, drops * ~mine, ~mine])
        sums = resample_sums(columns, codes, resamples=2000, seed=seed)
        with np.errstate(invalid="ignore", divide="ignore"):
            replicates = sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3]
        value = self.drop.value - other.drop.value
        # a resample may hold chats of one side only
        known = replicates[np.isfinite(replicates)]
        low, high = percentile_ends(value, known, clusters=int(codes.max()) + 1, confidence=0.95)
        null = tuple(one - two for one, two in zip(self.null, other.null, strict=True))
        return DropDifference(Interval(value, low, high, len(drops)), null)

    def top(self, fraction: float, measure: Measure = "drop") -> list[int]:
        """Numbers of the chats that are kept: the first `round(fraction * n)`, at least one.

        Raises:
            InputError: The fraction is not in (0, 1].
        """
        if not 0 < fraction <= 1:
            raise InputError(f"fraction must be above 0 and at most 1, got {fraction}")
        ranked = rank_cliffs([one.drop for one in self.cliffs], [one.final for one in self.cliffs], measure)
        return ranked[: max(1, round(fraction * len(ranked)))]

    def _repr_html_(self) -> str:
        rows = [
            (name, one.value, f"{one.low:.3f} to {one.high:.3f}", one.n)
            for name, one in (("plateau", self.plateau), ("final", self.final), ("drop", self.drop))
        ]
        if self.null:
            rows.append(("drop, random directions", max(self.null), f"largest of {len(self.null)}", len(self.cliffs)))
        return html_table("Refusal cliff", ("", "mean", "95%", "n"), rows)


def measure_cliffs(
    model: LocalModel,
    chats: Sequence[ChatLike],
    probe: Probe,
    *,
    families: Sequence[Hashable] | None = None,
    plateau: Plateau = "top",
    over: Over = "reasoning",
    margin: int = 8,
    random: int = 5,
    seed: int = 0,
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> Cliffs:
    """Read chats token by token and measure their cliffs.

    Args:
        model: The model that the probe was fitted on.
        chats: With their reasoning closed (`closed_reasoning`, `roll_out`), at least two.
        probe: Of refusal.
        families: Prompts that are not independent share one; None makes each its own.
        plateau: See `measure_cliff`.
        over: See `measure_cliff`.
        margin: See `measure_cliff`.
        random: Random directions of the null; each costs one more pass.
        seed: Of random directions and bootstrap.
        batch_size: Chats at once.
        progress: Called with the number of chats read and their total, for the probe itself.

    Raises:
        InputError: A chat cannot be read or has no reasoning; there are fewer than two families.
    """

    def measured(paths: Sequence[RefusalPath]) -> list[Cliff]:
        found = []
        for number, path in enumerate(paths):
            try:
                found.append(measure_cliff(path, plateau=plateau, over=over, margin=margin))
            except InputError as error:
                raise InputError(f"chat {number}: {error}") from error
        return found

    paths = score_paths(model, chats, probe, batch_size=batch_size, progress=progress)
    cliffs = measured(paths)
    controls = [probe.random(seed + number) for number in range(random)]
    null = [
        float(np.mean([one.drop for one in measured(score_paths(model, chats, control, batch_size=batch_size))]))
        for control in controls
    ]

    def mean(values: Sequence[float]) -> Interval:
        return cluster_bootstrap(values, None if families is None else list(families), seed=seed)

    where = Counter(
        path.segment(cliff.location) for path, cliff in zip(paths, cliffs, strict=True) if cliff.location is not None
    )
    return Cliffs(
        paths=tuple(paths),
        cliffs=tuple(cliffs),
        drop=mean([cliff.drop for cliff in cliffs]),
        plateau=mean([cliff.plateau for cliff in cliffs]),
        final=mean([cliff.final for cliff in cliffs]),
        null=tuple(null),
        mean=mean_path(paths, families=families, seed=seed),
        where=dict(where),
        families=tuple(range(len(paths)) if families is None else families),
    )

"""What a training shows when, and how fast it learns: phases, each with a rise and a fall of the learning rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING

from demur.phantom.encoding import Batch, Drawn, Sequences, as_batch, groups
from demur.phantom.specification import Phase, Training

if TYPE_CHECKING:
    from demur.phantom.team import Team

__all__ = ["Schedule", "Step", "schedule"]


@dataclass(frozen=True)
class Step:
    """A step's place in the schedule."""

    phase: Phase
    number: int
    """Of the step in its phase, from 0."""
    length: int
    """Steps of the phase."""

    @property
    def rate(self) -> float:
        """Learning rate: a linear rise, then a linear fall to zero, which averages the last batches' noise away."""
        warmup = min(self.phase.warmup_steps, self.length // 10)
        if self.number < warmup:
            return self.phase.learning_rate * (self.number + 1) / warmup
        return self.phase.learning_rate * (self.length - self.number) / max(1, self.length - warmup)


@dataclass(frozen=True)
class Schedule:
    """The steps of a training.

    Attributes:
        settings: Of the training.
        lengths: Steps of each phase that is run.
        seed: Of the order.
    """

    settings: Training
    lengths: tuple[int, ...]
    seed: int

    @property
    def total(self) -> int:
        """Steps of all phases."""
        return sum(self.lengths)

    def steps(
        self, sequences: Sequence[Sequences], *, begin: int, pad: int, team: Team
    ) -> Iterator[tuple[Step, Batch | None]]:
        """Every step from `begin` on with its batch, or with a team member's share of it."""
        passed = 0
        for phase, length in zip(self.settings.phase, self.lengths, strict=False):
            for number, group in enumerate(islice(self._groups(sequences, phase), length)):
                if passed + number >= begin:
                    yield Step(phase, number, length), as_batch(group, phase, pad=pad, team=team)
            passed += length

    def _groups(self, sequences: Sequence[Sequences], phase: Phase) -> Iterator[list[Drawn]]:
        """Passes without end."""
        for epoch in count():
            yield from groups(sequences, self.settings, phase, seed=self.seed, epoch=epoch)


def schedule(sequences: Sequence[Sequences], settings: Training, *, seed: int, steps: int | None = None) -> Schedule:
    """The specification's schedule, or so many steps of its first phase."""
    if steps:
        return Schedule(settings, (steps,), seed)
    lengths = tuple(
        sum(
            len(groups(sequences, settings, phase, seed=seed, epoch=epoch))
            for epoch in range(phase.judgement_epochs + phase.epochs)
        )
        for phase in settings.phase
    )
    return Schedule(settings, lengths, seed)

"""Data-parallel training over processes: each takes its share of a batch, then all add up their gradients.

A model of this size gains little from threads, which wait for each other at every operation; processes meet once a
step. The sums are the same up to rounding, whatever the number of processes.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

__all__ = ["Team", "team"]

T = TypeVar("T")


class Team:
    """One member's view of the processes that train together.

    Args:
        rank: Which member this is; 0 leads.
        size: How many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    def share(self, rows: Sequence[T]) -> Sequence[T]:
        """The rows of a batch that this member computes; none where there are fewer rows than members."""
        return rows[self.rank :: self.size]

    def add_up(self, model: nn.Module, loss: float, *, stop: bool) -> tuple[float, bool]:
        """Put the sum of all members' gradients into the model.

        Args:
            model: With this member's gradients; parameters without one count as zero.
            loss: This member's part.
            stop: Whether this member wants to end after this step.

        Returns:
            The sum of the losses, and whether anyone wants to end.
        """
        if self.size == 1:
            return loss, stop
        import torch.distributed as dist

        parameters = list(model.parameters())
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([*(part.reshape(-1) for part in parts), torch.tensor([loss, float(stop)])])
        dist.all_reduce(flat)
        sums = torch.split(flat[:-2], [p.numel() for p in parameters])
        for parameter, summed in zip(parameters, sums, strict=True):
            parameter.grad = summed.view_as(parameter)
        return float(flat[-2]), bool(flat[-1] > 0)


@contextmanager
def team(size: int, follow: Callable[..., None], *args: Any) -> Iterator[Team]:
    """Start the other members, each of which runs `follow(team, *args)` in a process of its own.

    Args:
        size: How many members there are, this process included.
        follow: A function of a module, because it is started anew in each process.
        args: What it is given beside its view of the team.
    """
    if size == 1:
        yield Team()
        return

    with tempfile.TemporaryDirectory(prefix="demur-team-") as folder:
        place = str(Path(folder) / "meeting")
        context = multiprocessing.get_context("spawn")
        others = [
            context.Process(target=_member, args=(rank, size, place, follow, args), daemon=True)
            for rank in range(1, size)
        ]
        for other in others:
            other.start()
        try:
            with _meeting(0, size, place):
                yield Team(0, size)
            for other in others:
                other.join(30)
        finally:
            for other in others:
                other.terminate()


def _member(rank: int, size: int, place: str, follow: Callable[..., None], args: tuple[Any, ...]) -> None:
    import signal

    # Ctrl-C reaches the whole group of processes; the leader alone decides when to end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    with _meeting(rank, size, place):
        follow(Team(rank, size), *args)


@contextmanager
def _meeting(rank: int, size: int, place: str) -> Iterator[None]:
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=size)
    try:
        yield
    finally:
        dist.destroy_process_group()

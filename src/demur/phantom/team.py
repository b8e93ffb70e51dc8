"""Data-parallel training over processes: each takes its share of a batch, then all add up their gradients.

A model of this size gains little from threads, which wait for each other at every operation; processes meet once a
step, in memory that they share: a step of both halves takes about 80 ms, of which adding up through sockets (gloo) took
12 and takes 3 this way. The sums are the same up to rounding, whatever the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection
from threading import BrokenBarrierError, Thread
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from demur.errors import IncompleteError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from multiprocessing.synchronize import Barrier

__all__ = ["Team", "team"]

T = TypeVar("T")


class Team:
    """One member's view of the processes that train together.

    Args:
        rank: Which member this is; 0 leads.
        size: How many there are.
        sums: Memory that they share, `(size, numbers)`; a team of one needs none.
        meeting: Where they wait for each other.
    """

    def __init__(
        self, rank: int = 0, size: int = 1, sums: Tensor | None = None, meeting: Barrier | None = None
    ) -> None:
        self.rank, self.size = rank, size
        self._sums, self._meeting = sums, meeting

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

        Raises:
            IncompleteError: Another member has ended before its time.
        """
        if self._sums is None or self._meeting is None:
            return loss, stop
        parameters = list(model.parameters())
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        torch.cat([*(part.reshape(-1) for part in parts), torch.tensor([loss, float(stop)])], out=self._sums[self.rank])
        try:
            self._meeting.wait()
            flat = self._sums.sum(0)
            self._meeting.wait()  # nobody writes again before all have read
        except BrokenBarrierError:
            raise IncompleteError(
                "another process of this training has ended; the same command with --resume goes on from the last "
                "checkpoint"
            ) from None
        sums = torch.split(flat[:-2], [p.numel() for p in parameters])
        for parameter, summed in zip(parameters, sums, strict=True):
            parameter.grad = summed.view_as(parameter)
        return float(flat[-2]), bool(flat[-1] > 0)


@contextmanager
def team(size: int, model: nn.Module, follow: Callable[..., None], *args: Any) -> Iterator[Team]:
    """Start the other members, each of which runs `follow(team, *args)` in a process of its own.

    Args:
        size: How many members there are, this process included.
        model: What they train; it says how much memory they share.
        follow: A function of a module, because it is started anew in each process.
        args: What it is given beside its view of the team.
    """
    if size == 1:
        yield Team()
        return

    context = torch.multiprocessing.get_context("spawn")
    numbers = sum(p.numel() for p in model.parameters()) + 2  # the loss, and whether to stop
    sums, meeting = torch.zeros(size, numbers), context.Barrier(size)
    sums.share_memory_()  # type: ignore[no-untyped-call]
    others = [
        context.Process(target=_member, args=(Team(rank, size, sums, meeting), follow, args), daemon=True)
        for rank in range(1, size)
    ]
    for other in others:
        other.start()
    Thread(target=_watch, args=(others, meeting), daemon=True).start()
    try:
        yield Team(0, size, sums, meeting)
        for other in others:
            other.join(30)
    finally:
        for other in others:
            other.terminate()


def _watch(others: Sequence[BaseProcess], meeting: Barrier) -> None:
    """Lets nobody wait for a member that died."""
    living = list(others)
    while living:
        ended = connection.wait([other.sentinel for other in living])
        for other in [other for other in living if other.sentinel in ended]:
            living.remove(other)
            other.join()
            if other.exitcode:
                meeting.abort()


def _member(mine: Team, follow: Callable[..., None], args: tuple[Any, ...]) -> None:
    import signal

    # Ctrl-C reaches the whole group of processes; the leader alone decides when to end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    follow(mine, *args)

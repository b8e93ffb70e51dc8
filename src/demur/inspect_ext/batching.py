"""Batches concurrent requests for a worker that does one thing at a time.

A batch starts as soon as the worker is idle, with everything that is waiting; while it runs, arrivals gather for the
next one. Nothing polls and no clock is read. Before a batch starts, the event loop is left to turn until it brings no
new request for a while, so that requests made in the same breath share a batch. The wait is counted in turns of the
loop: an idle loop turns in microseconds, a loop that is busy preparing the next requests takes as long as it needs.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from demur.errors import InputError

__all__ = ["Batcher"]

Request = TypeVar("Request")
Result = TypeVar("Result")

# Turns of the event loop without an arrival before a batch starts. Between an answer and the next request Inspect takes
# some tens of turns (scoring, logging, the next sample's set-up); an idle loop does this many in about a millisecond.
_QUIET_TURNS = 50


@dataclass(frozen=True)
class _Failure:
    error: Exception


@dataclass(eq=False)
class _Waiting(Generic[Request, Result]):
    request: Request
    # carries failures as values: an exception on a future that nobody reads any more would be reported as lost
    outcome: asyncio.Future[Result | _Failure]


@dataclass(eq=False)
class _Lane(Generic[Request, Result]):
    """What waits on one event loop, and the task that feeds it to the worker."""

    waiting: deque[_Waiting[Request, Result]] = field(default_factory=deque)
    arrivals: int = 0
    dispatcher: asyncio.Task[None] | None = None


class Batcher(Generic[Request, Result]):
    """Collects concurrent requests into batches and runs them on one thread.

    May be used from several event loops, one after another or at the same time: each has its own queue, the thread is
    shared and takes one batch at a time. No task outlives the requests it serves.

    Args:
        work: Answers a batch: as many results as requests, in their order. Runs on the worker thread. When it raises,
            the batch is halved and tried again, so that the error reaches exactly the requests that cause it.
        prepare: Runs on the worker thread before every batch, and should be quick when there is nothing to do. When it
            raises, every request of the batch gets the error.
        limit: Most requests in one batch, at least 1.

    Raises:
        InputError: `limit` is under 1.
    """

    def __init__(
        self,
        work: Callable[[list[Request]], Sequence[Result]],
        *,
        limit: int,
        prepare: Callable[[], object] = lambda: None,
    ) -> None:
        if limit < 1:
            raise InputError(f"a batch holds at least one request, got a limit of {limit}")
        self.limit = limit
        self._work = work
        self._prepare = prepare
        self._worker: ThreadPoolExecutor | None = None
        self._lanes: dict[asyncio.AbstractEventLoop, _Lane[Request, Result]] = {}

    async def submit(self, request: Request) -> Result:
        """The result for `request`, computed together with whatever else is waiting.

        Raises:
            Exception: Whatever `work` or `prepare` raised for this request.
        """
        loop = asyncio.get_running_loop()
        lane = self._lanes.setdefault(loop, _Lane())
        mine: _Waiting[Request, Result] = _Waiting(request, loop.create_future())
        lane.waiting.append(mine)
        lane.arrivals += 1
        if lane.dispatcher is None:
            # an empty context: the dispatcher serves every sample and belongs to none
            lane.dispatcher = loop.create_task(self._dispatch(loop, lane), context=contextvars.Context())
        outcome = await mine.outcome
        if isinstance(outcome, _Failure):
            raise outcome.error
        return outcome

    def close(self) -> None:
        """Lets the worker thread go after the batch it is in. A later request starts a new one."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.shutdown(wait=False, cancel_futures=True)

    async def _dispatch(self, loop: asyncio.AbstractEventLoop, lane: _Lane[Request, Result]) -> None:
        try:
            while lane.waiting:
                await self._until_quiet(lane)
                batch = self._take(lane)
                if not batch:
                    continue
                if self._worker is None:
                    self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="demur-batch")
                outcomes = await loop.run_in_executor(self._worker, self._run, [one.request for one in batch])
                for one, outcome in zip(batch, outcomes, strict=True):
                    if not one.outcome.done():
                        one.outcome.set_result(outcome)
        finally:
            # nothing is awaited between the last look at the queue and here, so no request can slip in unseen
            del self._lanes[loop]
            for left in lane.waiting:
                left.outcome.cancel()

    async def _until_quiet(self, lane: _Lane[Request, Result]) -> None:
        quiet, seen = 0, lane.arrivals
        while quiet < _QUIET_TURNS and len(lane.waiting) < self.limit:
            await asyncio.sleep(0)
            quiet = quiet + 1 if lane.arrivals == seen else 0
            seen = lane.arrivals

    def _take(self, lane: _Lane[Request, Result]) -> list[_Waiting[Request, Result]]:
        """Up to `limit` requests that somebody still waits for, in order of arrival."""
        batch: list[_Waiting[Request, Result]] = []
        while lane.waiting and len(batch) < self.limit:
            one = lane.waiting.popleft()
            if not one.outcome.done():
                batch.append(one)
        return batch

    def _run(self, requests: list[Request]) -> list[Result | _Failure]:
        try:
            self._prepare()
        except Exception as error:  # noqa: BLE001 - delivered to every request of the batch
            return [_Failure(error)] * len(requests)
        return self._attempt(requests)

    def _attempt(self, requests: list[Request]) -> list[Result | _Failure]:
        try:
            results = list(self._work(requests))
            if len(results) != len(requests):
                raise RuntimeError(f"{len(requests)} requests were answered with {len(results)} results")
            return [*results]
        except Exception as error:  # noqa: BLE001 - delivered to exactly the requests that cause it
            if len(requests) == 1:
                return [_Failure(error)]
        # outside the handler, so that the error and the tensors in its frames are gone before the next attempt
        middle = len(requests) // 2
        return [*self._attempt(requests[:middle]), *self._attempt(requests[middle:])]

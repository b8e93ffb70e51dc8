"""The batcher alone, with a worker whose batches the test opens and closes by hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demur.errors import InputError
from demur.inspect_ext.batching import Batcher


class Echo:
    """Answers every request with itself doubled, and keeps the batches it saw."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.running = 0
        self.most_at_once = 0

    def __call__(self, requests: list[int]) -> Sequence[int]:
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        self.batches.append(list(requests))
        self.running -= 1
        return [2 * request for request in requests]


class Gate(Echo):
    """An `Echo` whose every batch waits until the test lets it through."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.open = threading.Semaphore(0)

    def __call__(self, requests: list[int]) -> Sequence[int]:
        self.entered.release()
        assert self.open.acquire(timeout=30)
        return super().__call__(requests)


async def entered(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.entered.acquire, timeout=30)


def test_requests_of_one_breath_share_one_batch():
    echo = Echo()
    batcher = Batcher(echo, limit=64)

    async def run() -> list[int]:
        return await asyncio.gather(*(batcher.submit(i) for i in range(40)))

    assert asyncio.run(run()) == [2 * i for i in range(40)]
    assert echo.batches == [list(range(40))]
    batcher.close()


def test_requests_that_arrive_some_turns_apart_still_share_a_batch():
    echo = Echo()
    batcher = Batcher(echo, limit=64)

    async def late(i: int) -> int:
        for _ in range(5 * i):  # as far apart as samples in different stages of their set-up
            await asyncio.sleep(0)
        return await batcher.submit(i)

    async def run() -> None:
        await asyncio.gather(*(late(i) for i in range(10)))

    asyncio.run(run())
    assert len(echo.batches) == 1
    batcher.close()


def test_no_batch_is_larger_than_the_limit_and_order_of_arrival_is_kept():
    echo = Echo()
    batcher = Batcher(echo, limit=3)

    async def run() -> list[int]:
        return await asyncio.gather(*(batcher.submit(i) for i in range(8)))

    assert asyncio.run(run()) == [2 * i for i in range(8)]
    assert echo.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]
    batcher.close()


def test_arrivals_during_a_batch_gather_for_the_next():
    gate = Gate()
    batcher = Batcher(gate, limit=8)

    async def run() -> None:
        first = asyncio.create_task(batcher.submit(0))
        await entered(gate)
        rest = [asyncio.create_task(batcher.submit(i)) for i in (1, 2, 3)]
        await asyncio.sleep(0)
        gate.open.release()
        assert await first == 0
        gate.open.release()
        assert await asyncio.gather(*rest) == [2, 4, 6]

    asyncio.run(run())
    assert gate.batches == [[0], [1, 2, 3]]
    batcher.close()


def test_the_event_loop_turns_while_a_batch_runs():
    gate = Gate()
    batcher = Batcher(gate, limit=8)

    async def run() -> None:
        request = asyncio.create_task(batcher.submit(7))
        await entered(gate)
        # the batch cannot end before this line, so the loop has turned in the middle of it
        gate.open.release()
        assert await request == 14

    asyncio.run(run())
    batcher.close()


def test_a_cancelled_request_leaves_its_neighbours_alone():
    gate = Gate()
    batcher = Batcher(gate, limit=8)

    async def run() -> None:
        tasks = [asyncio.create_task(batcher.submit(i)) for i in range(3)]
        await entered(gate)
        tasks[1].cancel()
        gate.open.release()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[0] == 0
        assert isinstance(results[1], asyncio.CancelledError)
        assert results[2] == 4

    asyncio.run(run())
    batcher.close()


def test_a_request_cancelled_before_its_batch_is_never_run():
    gate = Gate()
    batcher = Batcher(gate, limit=8)

    async def run() -> None:
        first = asyncio.create_task(batcher.submit(0))
        await entered(gate)
        waiting = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.open.release()
        await first

    asyncio.run(run())
    assert gate.batches == [[0]]
    batcher.close()


def test_the_first_requests_cancellation_does_not_stop_the_dispatcher():
    echo = Echo()
    batcher = Batcher(echo, limit=8)

    async def run() -> None:
        first = asyncio.create_task(batcher.submit(0))
        second = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == 2

    asyncio.run(run())
    assert echo.batches == [[1]]
    batcher.close()


@given(st.sets(st.integers(0, 19)), st.integers(1, 20))
@settings(max_examples=30, deadline=None)
def test_an_error_reaches_exactly_the_requests_that_cause_it(bad: set[int], limit: int):
    def work(requests: list[int]) -> Sequence[int]:
        if wrong := bad.intersection(requests):
            raise ValueError(f"cannot do {sorted(wrong)}")
        return [2 * request for request in requests]

    batcher = Batcher(work, limit=limit)

    async def run() -> list[int | BaseException]:
        return await asyncio.gather(*(batcher.submit(i) for i in range(20)), return_exceptions=True)

    for i, outcome in enumerate(asyncio.run(run())):
        if i in bad:
            assert isinstance(outcome, ValueError)
            assert str(outcome) == f"cannot do [{i}]"
        else:
            assert outcome == 2 * i
    batcher.close()


def test_what_fails_in_preparation_fails_every_request_without_trying_the_work():
    calls: list[object] = []

    def prepare() -> None:
        raise FileNotFoundError("no weights here")

    batcher = Batcher(lambda requests: calls.append(requests) or requests, prepare=prepare, limit=8)

    async def run() -> list[int | BaseException]:
        return await asyncio.gather(*(batcher.submit(i) for i in range(5)), return_exceptions=True)

    outcomes = asyncio.run(run())
    assert [str(outcome) for outcome in outcomes] == ["no weights here"] * 5
    assert calls == []
    batcher.close()


def test_too_few_results_are_an_error_and_not_a_mix_up():
    batcher = Batcher(lambda requests: requests[:-1], limit=8)

    async def run() -> list[int | BaseException]:
        return await asyncio.gather(*(batcher.submit(i) for i in range(3)), return_exceptions=True)

    outcomes = asyncio.run(run())
    assert all(isinstance(outcome, RuntimeError) for outcome in outcomes)
    batcher.close()


def test_one_batcher_serves_one_loop_after_another_and_leaves_no_task_behind():
    echo = Echo()
    batcher = Batcher(echo, limit=8)

    async def run() -> None:
        assert await asyncio.gather(*(batcher.submit(i) for i in range(4))) == [0, 2, 4, 6]
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    for _ in range(3):
        asyncio.run(run())
    assert len(echo.batches) == 3
    batcher.close()


def test_two_loops_at_once_share_the_worker_one_batch_at_a_time():
    echo = Echo()
    batcher = Batcher(echo, limit=2)
    results: dict[int, list[int]] = {}

    def loop(name: int) -> None:
        async def run() -> list[int]:
            return await asyncio.gather(*(batcher.submit(100 * name + i) for i in range(20)))

        results[name] = asyncio.run(run())

    threads = [threading.Thread(target=loop, args=(name,)) for name in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {name: [2 * (100 * name + i) for i in range(20)] for name in (1, 2)}
    assert echo.most_at_once == 1
    batcher.close()


def test_a_loop_that_ends_in_the_middle_of_a_batch_leaves_the_batcher_usable():
    gate = Gate()
    batcher = Batcher(gate, limit=8)

    async def give_up() -> None:
        asyncio.create_task(batcher.submit(0))  # noqa: RUF006 - abandoned on purpose, as Ctrl-C does
        await entered(gate)

    async def run() -> int:
        task = asyncio.create_task(batcher.submit(5))
        gate.open.release(2)
        return await task

    asyncio.run(give_up())
    assert asyncio.run(run()) == 10
    batcher.close()


def test_a_closed_batcher_starts_again():
    batcher = Batcher(Echo(), limit=8)
    assert asyncio.run(batcher.submit(1)) == 2
    batcher.close()
    assert asyncio.run(batcher.submit(2)) == 4
    batcher.close()


def test_a_batch_holds_at_least_one_request():
    with pytest.raises(InputError, match="at least one request, got a limit of 0"):
        Batcher(Echo(), limit=0)

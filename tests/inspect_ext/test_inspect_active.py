"""Which sample a call belongs to, read from inside a real evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.solver import Generate, Solver, TaskState, solver

from demur.inspect_ext.active import ActiveSample, active_sample

pytestmark = pytest.mark.usefixtures("counting_offline")


def test_every_sample_and_epoch_knows_itself(tmp_path: Path):
    seen: list[ActiveSample | None] = []

    @solver
    def look() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            seen.append(active_sample())
            return state

        return solve

    task = Task(dataset=[Sample(id="a", input="x"), Sample(id="b", input="y")], solver=look(), name="looking")
    log = eval(task, model="mockllm/model", epochs=2, display="none", log_dir=str(tmp_path))[0]
    assert log.status == "success"
    assert sorted((one.sample_id, one.epoch) for one in seen if one) == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert {one.task for one in seen if one} == {"looking"}


def test_outside_an_evaluation_there_is_none():
    assert active_sample() is None

"""Which sample and epoch a call to a model belongs to.

Inspect keeps this in a context variable of a private module. Everything that demur reads from there is read here, so
that a change in Inspect breaks one small file and its test.
"""

from __future__ import annotations

from typing import NamedTuple

from inspect_ai.log._samples import sample_active

__all__ = ["ActiveSample", "active_sample"]


class ActiveSample(NamedTuple):
    """Where in an evaluation a call comes from."""

    task: str
    """Name of the task."""
    sample_id: str | int | None
    """Id of the sample within its dataset."""
    epoch: int
    """Which repetition of the sample this is, from 1."""


def active_sample() -> ActiveSample | None:
    """The sample that the calling code runs for, or None outside an evaluation."""
    active = sample_active()
    if active is None:
        return None
    return ActiveSample(active.task, active.sample.id, active.epoch)

"""A run directory: what was asked, what came back, what was measured; written so that a kill loses nothing."""

from __future__ import annotations

from demur.runs.directory import SCHEMA_VERSION, RunDirectory, RunInfo
from demur.runs.journal import Journal
from demur.runs.samples import SAMPLE_COLUMNS, read_samples, write_samples

__all__ = [
    "SAMPLE_COLUMNS",
    "SCHEMA_VERSION",
    "Journal",
    "RunDirectory",
    "RunInfo",
    "read_samples",
    "write_samples",
]

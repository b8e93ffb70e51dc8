"""The table of samples: one row a response, in Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demur.atomic import replacing
from demur.errors import RunError

if TYPE_CHECKING:
    import polars

__all__ = ["SAMPLE_COLUMNS", "read_samples", "write_samples"]

# Columns that tables of the first release lack; they are read as null there.
_LATER: Mapping[str, str] = {
    "provider_refusal": "Boolean",  # the provider's own flag; null where it says nothing
    "stance": "String",  # what the reasoning concludes: decline, comply or open
    "correct": "Boolean",  # of tasks with a known answer
    "ladder_kind": "String",  # what the offline ladder said, where a judge was asked
    "judge": "String",  # the judge's label, or why it failed
}

SAMPLE_COLUMNS: Mapping[str, str] = {
    "task": "String",
    "id": "String",
    "epoch": "Int32",
    "pair_id": "String",
    "category": "String",
    "expect": "String",
    "prompt": "String",
    "response": "String",
    "reasoning": "String",
    "ending": "String",
    "kind": "String",
    "reason": "String",
    "declined": "Boolean",
    "onset": "Int64",
    "probability": "Float64",
    "decided_by": "String",
    "tokens_in": "Int64",
    "tokens_out": "Int64",
    # beyond the contract's columns: why a sample failed, and what else its prompt carried, as JSON
    "error": "String",
    "meta": "String",
    **_LATER,
}
"""Column names and their polars types, in order."""


def write_samples(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes `rows` to `path` in one step; a missing column is null, an unknown one is an error."""
    import polars

    table = list(rows)
    for row in table:
        if unknown := set(row) - set(SAMPLE_COLUMNS):
            raise RunError(f"a sample row has the unknown columns {sorted(unknown)}")
    schema = {name: getattr(polars, kind) for name, kind in SAMPLE_COLUMNS.items()}
    frame = polars.DataFrame([[row.get(name) for name in schema] for row in table], schema=schema, orient="row")
    with replacing(path) as temporary:
        frame.write_parquet(temporary)


def read_samples(path: Path) -> polars.DataFrame:
    """Reads a table of samples.

    Raises:
        RunError: The file is missing or is no such table.
    """
    import polars

    if not path.exists():
        raise RunError(f"{path} does not exist; did the run finish? `demur audit --resume --out {path.parent}` ends it")
    try:
        frame = polars.read_parquet(path, glob=False)
    except (polars.exceptions.PolarsError, OSError) as error:
        raise RunError(f"{path} cannot be read as a table of samples: {error}") from error
    if missing := [name for name in SAMPLE_COLUMNS if name not in frame.columns and name not in _LATER]:
        raise RunError(f"{path} lacks the columns {missing}")
    return frame.with_columns(
        polars.lit(None, dtype=getattr(polars, kind)).alias(name)
        for name, kind in _LATER.items()
        if name not in frame.columns
    )

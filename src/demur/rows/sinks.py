"""Writes rows to a file so that a killed run can go on where it stopped.

A sink takes batches and, after each, names a position: so many bytes, or so many part files. Opening a sink at a
position cuts off whatever came after it. Gzip output is one archive member a batch, which can be cut between batches.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from demur.errors import RunError
from demur.rows.forms import EXACT, Form, find_form

__all__ = ["Sink", "open_sink"]


class Sink(Protocol):
    """Where rows go."""

    form: Form
    """How they are written; what another process encodes must be encoded by this form or its copy."""

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Appends a batch; when it returns, the batch has been handed to the operating system."""

    def append(self, data: bytes) -> None:
        """Appends a batch that is encoded already."""

    def position(self) -> dict[str, Any]:
        """What `open_sink` needs to go on after the last batch."""

    def close(self) -> None:
        """Finishes the output; until `clean` it could still be opened again at its position."""

    def clean(self) -> None:
        """Removes what only resuming needs, once nobody will ask for that any more."""

    def abandon(self) -> None:
        """Releases the output as it stands, for a later run to go on with."""


def open_sink(path: str | None, *, position: dict[str, Any] | None = None) -> Sink:
    """A sink by the name of its file.

    Args:
        path: `.jsonl`, `.csv`, `.tsv`, `.parquet`, `.gz` of the text formats; None is standard output, as JSON lines.
        position: Where an earlier sink on the same file stopped; whatever follows is cut off.

    Raises:
        InputError: The name does not tell a format that can be written.
        RunError: The file is shorter than `position` says.
    """
    form = find_form(path, position.get("columns") if position else None)
    if path is not None and path.lower().endswith((".parquet", ".pq")):
        return _ParquetSink(Path(path), form, position)
    return _TextSink(None if path is None else Path(path), form, position)


class _TextSink:
    def __init__(self, path: Path | None, form: Form, position: dict[str, Any] | None) -> None:
        self.form, self._path = form, path
        self._bytes = 0
        if path is None:
            self._stream: IO[bytes] = sys.stdout.buffer
            return
        if position is None:
            self._stream = path.open("wb")
            return
        self._bytes = int(position["bytes"])
        size = path.stat().st_size if path.exists() else 0
        if size < self._bytes:
            raise RunError(
                f"cannot resume: {path} has {size} bytes, the last run wrote {self._bytes}; start over with --force"
            )
        self._stream = path.open("r+b")
        self._stream.truncate(self._bytes)
        self._stream.seek(self._bytes)

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        self.append(self.form.encode(rows))

    def append(self, data: bytes) -> None:
        if not data:
            return
        self._stream.write(data)
        self._stream.flush()
        self._bytes += len(data)

    def position(self) -> dict[str, Any]:
        return {"bytes": self._bytes, "columns": self.form.columns}

    def close(self) -> None:
        if self._path is None:
            self._stream.flush()
            return
        if self._path.suffix.lower() == ".gz" and self._bytes == 0:  # an empty archive still has a header
            self._stream.write(gzip.compress(b"", mtime=0))
        self._stream.close()

    def clean(self) -> None:
        """Text needs nothing but itself."""

    def abandon(self) -> None:
        if self._path is None:
            return
        try:
            self._stream.close()
        except OSError:
            # the disk is full: what could be flushed is there, and the failure is being reported already
            return


class _ParquetSink:
    """Parquet has its directory at the end, so batches go to part files that are joined when all is done."""

    def __init__(self, path: Path, form: Form, position: dict[str, Any] | None) -> None:
        self.form = form
        self._path, self._folder = path, path.with_name(path.name + ".parts")
        self._parts = int(position["parts"]) if position else 0
        self._folder.mkdir(parents=True, exist_ok=True)
        for part in self._folder.glob("part-*.parquet*"):
            if not position or int(part.name[5:13]) >= self._parts:
                part.unlink()
        missing = [i for i in range(self._parts) if not self._name(i).exists()]
        if missing:
            raise RunError(f"cannot resume: {self._name(missing[0])} is missing; start over with --force")

    def _name(self, number: int) -> Path:
        return self._folder / f"part-{number:08d}.parquet"

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        self.append(self.form.encode(rows))

    def append(self, data: bytes) -> None:
        if not data:
            return
        name = self._name(self._parts)
        temporary = name.with_suffix(".parquet.writing")
        temporary.write_bytes(data)
        temporary.replace(name)
        self._parts += 1

    def position(self) -> dict[str, Any]:
        return {"parts": self._parts}

    def close(self) -> None:
        import polars as pl

        temporary = self._path.with_name(self._path.name + ".writing")
        names = [self._name(i) for i in range(self._parts)]
        if names:
            pl.concat(
                _alike([pl.scan_parquet(name, glob=False) for name in names]), how="diagonal_relaxed"
            ).sink_parquet(temporary)
        else:
            pl.DataFrame().write_parquet(temporary)
        temporary.replace(self._path)

    def clean(self) -> None:
        for part in self._folder.glob("part-*.parquet*"):
            part.unlink()
        if not any(self._folder.iterdir()):
            self._folder.rmdir()

    def abandon(self) -> None:
        """Parts stay for the next run."""


def _alike(frames: Sequence[Any]) -> list[Any]:
    """Lazy frames with one type a column: what differs between them becomes text, numbers stay where none changes."""
    import polars as pl

    schemas = [frame.collect_schema() for frame in frames]
    kinds: dict[str, set[Any]] = {}
    for schema in schemas:
        for name, kind in schema.items():
            if kind != pl.Null and not isinstance(kind, pl.Struct):
                kinds.setdefault(name, set()).add(kind)
    mixed = {name for name, found in kinds.items() if len(found) > 1}
    for name in [name for name in mixed if kinds[name] == {pl.Int64(), pl.Float64()}]:
        whole = [frame.select(pl.col(name).abs().max()) for frame, schema in zip(frames, schemas, strict=True)
                 if schema.get(name) == pl.Int64]  # fmt: skip
        if pl.concat(whole).collect()[name].max() <= EXACT:
            mixed.discard(name)
    return [
        frame.with_columns(
            pl.col(name).bin.encode("hex") if schema[name] == pl.Binary else pl.col(name).cast(pl.String)
            for name in mixed
            if name in schema
        )
        for frame, schema in zip(frames, schemas, strict=True)
    ]

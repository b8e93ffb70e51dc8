"""Writes rows to JSON lines, CSV or Parquet so that a killed run can go on where it stopped.

A sink takes batches and, after each, names a position: so many bytes, or so many part files. Opening a sink at a
position cuts off whatever came after it. Gzip output is one archive member a batch, which every reader accepts and
which can be cut between batches. Parquet columns have one type: nested values are JSON text there, as in CSV, and a
column whose rows disagree is text.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from demur.errors import InputError, RunError

__all__ = ["Sink", "open_sink"]


class Sink(Protocol):
    """Where rows go."""

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Appends a batch; when it returns, the batch has been handed to the operating system."""

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
    if path is None:
        return _TextSink(None, _JsonLines(), compressed=False, position=None)
    name = path.lower()
    if name.endswith((".parquet", ".pq")):
        return _ParquetSink(Path(path), position)
    plain = name.removesuffix(".gz")
    if plain.endswith((".jsonl", ".ndjson", ".json")):
        return _TextSink(Path(path), _JsonLines(), compressed=name.endswith(".gz"), position=position)
    if plain.endswith((".csv", ".tsv")):
        columns = position["columns"] if position else None
        form = _Csv(columns, "\t" if plain.endswith(".tsv") else ",")
        return _TextSink(Path(path), form, compressed=name.endswith(".gz"), position=position)
    raise InputError(
        f"cannot tell the format of the output {path!r}; end it in .jsonl, .csv, .tsv, .parquet, "
        "or .gz of a text format"
    )


class _JsonLines:
    columns: list[str] | None = None

    def encode(self, rows: Sequence[dict[str, Any]]) -> bytes:
        return b"".join(_json_line(row) for row in rows)


def _json_line(row: dict[str, Any]) -> bytes:
    try:
        return (json.dumps(row, ensure_ascii=False, default=str) + "\n").encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can escape and UTF-8 cannot hold
        return (json.dumps(row, ensure_ascii=True, default=str) + "\n").encode("ascii")


class _Csv:
    def __init__(self, columns: list[str] | None, delimiter: str) -> None:
        self.columns, self._delimiter = columns, delimiter

    def encode(self, rows: Sequence[dict[str, Any]]) -> bytes:
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter=self._delimiter)
        for row in rows:
            flat = _flatten(row)
            if self.columns is None:
                self.columns = list(flat)
                writer.writerow(self.columns)
            unknown = [name for name in flat if name not in self.columns]
            if unknown:
                raise InputError(
                    f"a row has the fields {', '.join(unknown)}, which the first row did not have, "
                    "and a CSV header cannot grow; write .jsonl instead"
                )
            writer.writerow([_cell(flat.get(name)) for name in self.columns])
        return out.getvalue().encode("utf-8", "backslashreplace")


def _flatten(row: dict[str, Any]) -> dict[str, Any]:
    """Verdicts become columns `verdict_*`; other nested values stay one cell."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name == "verdict" and isinstance(value, dict):
            flat.update({f"verdict_{key}": part for key, part in value.items()})
        else:
            flat[name] = value
    return flat


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value


class _TextSink:
    def __init__(
        self, path: Path | None, form: _JsonLines | _Csv, *, compressed: bool, position: dict[str, Any] | None
    ) -> None:
        self._form, self._compressed, self._path = form, compressed, path
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
        if not rows:
            return
        data = self._form.encode(rows)
        if self._compressed:
            data = gzip.compress(data, compresslevel=6, mtime=0)
        self._stream.write(data)
        self._stream.flush()
        self._bytes += len(data)

    def position(self) -> dict[str, Any]:
        return {"bytes": self._bytes, "columns": self._form.columns}

    def close(self) -> None:
        if self._path is None:
            self._stream.flush()
            return
        if self._compressed and self._bytes == 0:  # an empty archive still has a header
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

    def __init__(self, path: Path, position: dict[str, Any] | None) -> None:
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
        import polars as pl

        if not rows:
            return
        name = self._name(self._parts)
        temporary = name.with_suffix(".parquet.writing")
        pl.DataFrame(_columns(rows), strict=False).write_parquet(temporary)
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


_EXACT = 2**53
"""Up to here every whole number is a 64-bit float too."""


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """The rows as columns of one type each."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {_encodable(name): _column(name, [row.get(name) for row in rows]) for name in names}


def _column(name: str, values: list[Any]) -> list[Any]:
    known = [value for value in values if value is not None]
    if name == "verdict" and all(isinstance(value, dict) for value in known):
        return values  # ours, with one type a part: it stays a struct
    if not any(isinstance(value, (str, dict, list, tuple)) for value in known):
        kinds = {type(value) for value in known}
        whole = max((abs(value) for value in known if type(value) is int), default=0)
        if len(kinds) <= 1 and whole < 2**63:
            return values
        if kinds == {int, float} and whole <= _EXACT:
            return [None if value is None else float(value) for value in values]
    return [None if value is None else _as_text(value) for value in values]


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return _encodable(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (bool, dict, list, tuple)):
        return _encodable(json.dumps(value, ensure_ascii=False, default=str))
    return str(value)


def _encodable(text: str) -> str:
    """Half a surrogate pair, which UTF-8 cannot hold, written as an escape."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


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
        if pl.concat(whole).collect()[name].max() <= _EXACT:
            mixed.discard(name)
    return [
        frame.with_columns(
            pl.col(name).bin.encode("hex") if schema[name] == pl.Binary else pl.col(name).cast(pl.String)
            for name in mixed
            if name in schema
        )
        for frame, schema in zip(frames, schemas, strict=True)
    ]

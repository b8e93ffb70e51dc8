"""Reads the file formats that people keep rows in, one row at a time.

JSON lines, CSV and Parquet, gzip of the first two, standard input (`-`), globs, and Inspect `.eval` logs. A row that
cannot be read becomes a `Rejected` with its line number and the reason; it never stops the stream.
"""

from __future__ import annotations

import csv
import glob
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from demur.errors import InputError, MissingExtraError

__all__ = ["RAW_KEPT", "Rejected", "Row", "RowReader", "UnreadableError", "expand"]

RAW_KEPT = 2_000
"""Characters of an unreadable row that are kept: enough to find it, too few to fill a disk."""

CSV_FIELD_LIMIT = 64 * 2**20
"""Largest CSV field in characters; an unclosed quote must not swallow a whole file into memory."""

LINE_LIMIT = 64 * 2**20
"""Longest line of JSON in bytes; a file without line breaks must not be read into memory whole."""

PARQUET_BATCH = 4_096


@dataclass(frozen=True, slots=True)
class Row:
    """One readable row."""

    line: int
    """Line of the file where it ends, counted from 1; for Parquet and logs the row's number."""
    source: str
    """The file, or `-`."""
    fields: dict[str, Any]
    """Every field as it came, in order."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """One row that could not be read."""

    line: int
    """Line of the file where it starts; the reason says where it ends when that is another one."""
    why: str
    raw: str
    """The row's own text, cut to 2,000 characters."""
    source: str = "-"


class UnreadableError(Exception):
    """A row cannot be read; the message says why."""


def expand(inputs: Sequence[str], *, leave_out: Callable[[Path], bool] | None = None) -> list[str]:
    """Paths of the inputs: globs resolved in sorted order, `-` and plain paths as they are.

    Args:
        inputs: Paths, globs, and `-`.
        leave_out: Tells matches of a glob that are no inputs, an output in the same folder for one.

    Raises:
        InputError: A path does not exist, is a folder, or a glob matches nothing.
    """
    paths: list[str] = []
    for given in inputs:
        if given == "-" or Path(given).is_file():
            paths.append(given)
        elif Path(given).is_dir():
            raise InputError(f"{given} is a folder; name its files, for example '{given}/*.jsonl'")
        elif Path(given).exists():
            paths.append(given)  # a named pipe or /dev/stdin
        elif glob.has_magic(given):
            matches = sorted(
                match
                for match in glob.glob(given, recursive=True)  # noqa: PTH207 - may be absolute
                if Path(match).is_file() and not (leave_out and leave_out(Path(match)))
            )
            if not matches:
                raise InputError(f"no file matches {given!r}")
            paths.extend(matches)
        else:
            raise InputError(f"{given} does not exist")
    if not paths:
        raise InputError("no input was given; name a file, a glob, or - for standard input")
    return paths


class RowReader:
    """Streams one file, `-` included; the format follows from the name.

    Where the name says nothing (standard input, named pipes and other devices) the first bytes tell.

    Iterating yields `Row` and `Rejected` in file order. It raises `InputError` when the file as a whole cannot be read
    as what its name says, and `MissingExtraError` when an Inspect log is given and inspect-ai is not installed.

    Args:
        path: The file, or `-` for standard input.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._size = Path(path).stat().st_size if path != "-" and Path(path).is_file() else 0
        self._raw: IO[bytes] | None = None
        self._rows: tuple[int, int] | None = None

    @property
    def fraction(self) -> float | None:
        """How much of the file has been read, 0 to 1; None when its size is not known."""
        if self._rows is not None:
            return self._rows[0] / max(self._rows[1], 1)
        if not self._size:
            return None
        if self._raw is None or self._raw.closed:
            return 0.0 if self._raw is None else 1.0
        return self._raw.tell() / self._size

    def __iter__(self) -> Iterator[Row | Rejected]:
        path, name = self.path, self.path.lower()
        if name.endswith((".parquet", ".pq")):
            yield from self._parquet()
        elif name.endswith(".eval"):
            yield from _read_log(path)
        else:
            plain = name.removesuffix(".gz")
            told = plain.endswith((".csv", ".tsv", ".jsonl", ".ndjson", ".json"))
            if not told and not _is_stream(path):
                raise InputError(
                    f"{path}: the name does not tell the format; expected .jsonl, .csv, .tsv, .parquet, .eval, "
                    "or .gz of a text format"
                )
            with self._open() as stream:
                if plain.endswith((".csv", ".tsv")) or (not told and _looks_like_csv(stream)):
                    yield from _read_csv(stream, path, delimiter="\t" if plain.endswith(".tsv") else ",")
                else:
                    yield from _read_jsonl(stream, path, may_be_array=not told or plain.endswith(".json"))

    @contextmanager
    def _open(self) -> Iterator[io.BufferedReader]:
        try:
            # stdin is not ours to close, a file is closed below
            raw: IO[bytes] = sys.stdin.buffer if self.path == "-" else Path(self.path).open("rb")  # noqa: SIM115
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror}") from error
        self._raw = raw
        try:
            stream = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", raw))
            if stream.peek(2)[:2] == b"\x1f\x8b":
                yield io.BufferedReader(cast("io.RawIOBase", gzip.GzipFile(fileobj=stream)))
            elif self.path.lower().endswith(".gz") and stream.peek(1):
                raise InputError(f"{self.path} is named .gz but does not hold gzip data")
            else:
                yield stream
        finally:
            if self.path != "-":
                raw.close()

    def _parquet(self) -> Iterator[Row | Rejected]:
        import polars as pl

        number = 0
        try:
            frame = pl.scan_parquet(self.path, glob=False)
            total = int(frame.select(pl.len()).collect().item())
            for batch in _batches(frame):
                for fields in batch.iter_rows(named=True):
                    number += 1
                    self._rows = (number, total)
                    yield Row(number, self.path, fields)
        except (pl.exceptions.PolarsError, OSError) as error:
            if number:
                yield Rejected(number + 1, f"the file breaks here: {error}", "", self.path)
            else:
                raise InputError(f"cannot read {self.path} as Parquet: {error}") from error


def _is_stream(path: str) -> bool:
    """Whether a path is no regular file; what hides behind /dev/stdin may be one, and its name says nothing still."""
    return path == "-" or path.startswith("/dev/") or (Path(path).exists() and not Path(path).is_file())


_ARRAY = re.compile(rb"(?:\xef\xbb\xbf)?\s*\[\s*(?:\{|$)")


def _looks_like_csv(stream: io.BufferedReader) -> bool:
    try:
        head = stream.peek(512)[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False  # the reader of lines meets the damage again and names its line
    return bool(head) and not head.startswith(b"{") and not _ARRAY.match(head)


def _lines(stream: io.BufferedReader, path: str) -> Iterator[tuple[int, bytes, str | None]]:
    """Numbered lines; one that is too long comes cut and with a reason, a damaged archive ends in a reason alone."""
    number = 0
    try:
        while line := stream.readline(LINE_LIMIT + 1):
            number += 1
            if len(line) <= LINE_LIMIT:
                yield number, line, None
                continue
            kept = line[:RAW_KEPT]
            while line and not line.endswith(b"\n"):
                line = stream.readline(LINE_LIMIT)
            yield number, kept, f"the line is longer than {LINE_LIMIT:,} bytes"
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield number + 1, b"", f"the compressed file {path} ends or breaks here: {error}"


def _read_jsonl(stream: io.BufferedReader, path: str, *, may_be_array: bool) -> Iterator[Row | Rejected]:
    for number, line, broken in _lines(stream, path):
        if may_be_array and line.strip():
            may_be_array = False
            if _ARRAY.match(line):
                raise InputError(
                    f"{path} holds one JSON array, and rows are read from JSON lines; "
                    "write them with: jq -c '.[]' FILE > rows.jsonl"
                )
        if broken:
            yield Rejected(number, broken, _shown(line), path)
            continue
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")  # noqa: PLW2901 - the mark is no part of the row
        if not line.strip():
            continue
        try:
            yield Row(number, path, _parse_json(line))
        except UnreadableError as error:
            yield Rejected(number, str(error), _shown(line), path)


def _parse_json(line: bytes) -> dict[str, Any]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"not UTF-8 at byte {error.start} of the line") from error
    if "\x00" in text:
        raise UnreadableError("a nul byte stands in the line")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        cut = "" if line.endswith(b"\n") else "; the file ends in the middle of this row"
        raise UnreadableError(f"not JSON: {error.msg} at column {error.colno}{cut}") from error
    except (ValueError, RecursionError) as error:  # integers of thousands of digits, brackets without end
        raise UnreadableError(f"not usable JSON: {error}") from error
    if not isinstance(value, dict):
        raise UnreadableError(f"expected a JSON object, got {type(value).__name__}")
    return value


def _shown(line: bytes | str) -> str:
    text = line.decode("utf-8", "backslashreplace") if isinstance(line, bytes) else line
    return text.rstrip("\r\n")[:RAW_KEPT]


def _read_csv(stream: io.BufferedReader, path: str, *, delimiter: str) -> Iterator[Row | Rejected]:
    # bytes that are not UTF-8 travel as lone surrogates, so that the row that holds them can be named
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    before = csv.field_size_limit(CSV_FIELD_LIMIT)
    try:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        header: list[str] | None = None
        while True:
            start = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Rejected(start, f"not CSV: {error}{_span(start, reader.line_num)}", "", path)
                continue
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                yield Rejected(
                    reader.line_num + 1, f"the compressed file {path} ends or breaks here: {error}", "", path
                )
                return
            if not cells:
                continue
            if header is None:
                if len(set(cells)) != len(cells):
                    raise InputError(f"{path}: the header names a column twice: {', '.join(cells)}")
                header = cells
                continue
            why = _csv_fault(cells, header)
            if why:
                raw = delimiter.join(cells).encode("utf-8", "surrogateescape")
                yield Rejected(start, why + _span(start, reader.line_num), _shown(raw), path)
            else:
                yield Row(reader.line_num, path, dict(zip(header, cells, strict=True)))
    finally:
        csv.field_size_limit(before)
        text.detach()


def _span(start: int, end: int) -> str:
    if end <= start:
        return ""
    return f"; lines {start:,} to {end:,} were read as one row, perhaps because of a quote that is never closed"


def _csv_fault(cells: list[str], header: list[str]) -> str | None:
    if len(cells) != len(header):
        return f"{len(cells)} fields where the header has {len(header)}"
    for name, cell in zip(header, cells, strict=True):
        if "\x00" in cell:
            return f"a nul byte stands in the field {name!r}"
        if not cell.isascii() and any("\udc80" <= char <= "\udcff" for char in cell):
            return f"the field {name!r} is not UTF-8"
    return None


def _batches(frame: Any) -> Iterator[Any]:
    """Row batches of a lazy frame; older polars reads slices instead, which skip row groups by their metadata."""
    if hasattr(frame, "collect_batches"):
        yield from frame.collect_batches(chunk_size=PARQUET_BATCH, maintain_order=True)
        return
    offset = 0
    while (batch := frame.slice(offset, PARQUET_BATCH).collect()).height:
        yield batch
        offset += batch.height


def _read_log(path: str) -> Iterator[Row | Rejected]:
    try:
        from inspect_ai.log import read_eval_log, read_eval_log_samples
    except ImportError as error:
        raise MissingExtraError(f"reading the Inspect log {path}", "inspect", error.name or "inspect_ai") from error
    try:
        head = read_eval_log(path, header_only=True)
        samples = read_eval_log_samples(path, all_samples_required=False)
        for number, sample in enumerate(samples, 1):
            yield Row(number, path, _sample_fields(sample, head.eval.task, head.eval.model))
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(f"cannot read {path} as an Inspect log: {error}") from error


def _sample_fields(sample: Any, task: str, model: str) -> dict[str, Any]:
    choice = sample.output.choices[0] if sample.output.choices else None
    parts = choice.message.content if choice and isinstance(choice.message.content, list) else []
    asked = (
        sample.input
        if isinstance(sample.input, str)
        else next((m.text for m in reversed(sample.input) if m.role == "user"), "")
    )
    reasoning = [part.reasoning for part in parts if part.type == "reasoning" and part.reasoning]
    refused = any(getattr(part, "refusal", None) for part in parts if part.type == "text")
    return {
        "task": task,
        "model": model,
        "id": sample.id,
        "epoch": sample.epoch,
        "prompt": asked,
        "response": sample.output.completion,
        "reasoning": "\n".join(reasoning) or None,
        "ending": "error" if sample.error else str(choice.stop_reason) if choice else "error",
        "provider_refusal": True if refused else None,
    }

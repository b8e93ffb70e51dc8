"""CSV, Parquet and Inspect logs, cut into pieces of some hundred rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from demur.errors import InputError, MissingExtraError
from demur.rows.inputs import Input
from demur.rows.row import Known, Rejected, Row, shown
from demur.rows.streams import BROKEN, Blocks

__all__ = ["CSV_FIELD_LIMIT", "Cells", "Frame", "cut_csv", "cut_log", "cut_parquet"]

CSV_FIELD_LIMIT = 64 * 2**20
"""Largest CSV field in characters; an unclosed quote must not swallow a whole file into memory."""

CSV_ROWS, PARQUET_ROWS, LOG_ROWS = 2_048, 2_048, 64
"""Most rows of a piece."""


@dataclass(slots=True)
class Cells:
    """Some records of a CSV file."""

    source: str
    header: list[str]
    delimiter: str
    records: list[tuple[int, int, list[str] | str]]
    """First and last line, and the cells or why there are none."""
    end: tuple[int, int]
    """Records and lines of the file up to the end."""
    keys: dict[str, Any]
    """Fields of the partition."""

    def rows(self) -> Iterator[Row | Rejected]:
        """The rows, those that cannot be read among them."""
        keys = {name: value for name, value in self.keys.items() if name not in self.header}
        for start, end, cells in self.records:
            why = cells if isinstance(cells, str) else self._fault(cells)
            if why:
                raw = "" if isinstance(cells, str) else self.delimiter.join(cells)
                yield Rejected(
                    start, why + _span(start, end), shown(raw.encode("utf-8", "surrogateescape")), self.source
                )
            else:
                fields: dict[str, Any] = dict(zip(self.header, cells, strict=True))
                yield Row(end, self.source, fields | keys if keys else fields)

    def _fault(self, cells: list[str]) -> str | None:
        if len(cells) != len(self.header):
            return f"{len(cells)} fields where the header has {len(self.header)}"
        for name, cell in zip(self.header, cells, strict=True):
            if "\x00" in cell:
                return f"a nul byte stands in the field {name!r}"
            if not cell.isascii():
                try:
                    cell.encode("utf-8")
                except UnicodeEncodeError:
                    return f"the field {name!r} is not UTF-8"
        return None


def _span(start: int, end: int) -> str:
    if end <= start:
        return ""
    return f"; lines {start:,} to {end:,} were read as one row, perhaps because of a quote that is never closed"


class _Bytes(io.RawIOBase):
    """Blocks as a file."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks, self._rest = blocks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            block = next(self._blocks, b"")
            if block == b"":
                return 0
            self._rest = block or b""
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def cut_csv(
    blocks: Blocks, source: str, size: int, *, delimiter: str, start: int = 0, keys: dict[str, Any] | None = None
) -> Iterator[Cells]:
    """Pieces of about `size` characters, after `start` records.

    Raises:
        InputError: The header names a column twice.
    """
    # bytes that are not UTF-8 travel as lone surrogates, so that the row that holds them can be named
    buffered = io.BufferedReader(_Bytes(blocks), 2**18)
    text = io.TextIOWrapper(buffered, encoding="utf-8-sig", errors="surrogateescape", newline="")
    before = csv.field_size_limit(CSV_FIELD_LIMIT)
    try:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        header: list[str] | None = None
        records: list[tuple[int, int, list[str] | str]] = []
        done = length = 0
        over = False
        while not over:
            first = reader.line_num + 1
            cells: list[str] | str
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                cells = f"not CSV: {error}"
            except BROKEN as error:
                first = reader.line_num + 1
                cells, over = f"the compressed file {source} ends or breaks here: {error}", True
            if not cells or (header is None and not any(map(str.strip, cells))):
                continue
            if header is None and isinstance(cells, list):
                if len(set(cells)) != len(cells):
                    raise InputError(f"{source}: the header names a column twice: {', '.join(cells)}")
                header = cells
                continue
            done += 1
            if done > start:
                records.append((first, reader.line_num, cells))
                length += sum(map(len, cells))
                if length >= size or len(records) == CSV_ROWS:
                    yield Cells(source, header or [], delimiter, records, (done, reader.line_num), keys or {})
                    records, length = [], 0
        if records:
            yield Cells(source, header or [], delimiter, records, (done, reader.line_num), keys or {})
    finally:
        csv.field_size_limit(before)
        text.detach()


@dataclass(slots=True)
class Frame:
    """Some rows of a Parquet file."""

    source: str
    frame: Any
    """A polars frame, which travels between processes as Arrow."""
    after: int
    """Rows before them."""
    keys: dict[str, Any]
    """Fields of the partition."""

    @property
    def end(self) -> tuple[int, int]:
        """Rows of the file up to the end, twice: they are its lines."""
        return self.after + self.frame.height, self.after + self.frame.height

    def rows(self) -> Iterator[Row]:
        """The rows."""
        keys = {name: value for name, value in self.keys.items() if name not in self.frame.columns}
        for number, fields in enumerate(self.frame.iter_rows(named=True), self.after + 1):
            yield Row(number, self.source, fields | keys if keys else fields)


def cut_parquet(file: Input, start: int = 0) -> Iterator[tuple[Frame | Known, int]]:
    """Pieces after `start` rows, and with each how many rows the file has.

    Raises:
        InputError: The file as a whole cannot be read.
    """
    import polars as pl

    done = start
    try:
        frame = pl.scan_parquet(file.path, glob=False, hive_partitioning=False)
        total = int(frame.select(pl.len()).collect().item())
        for batch in _batches(frame, start):
            yield Frame(file.path, batch, done, file.keys), total
            done += batch.height
    except (pl.exceptions.PolarsError, OSError) as error:
        if not done:
            raise InputError(f"cannot read {file.path} as Parquet: {error}") from error
        fault = Rejected(done + 1, f"the file breaks here: {error}", "", file.path)
        yield Known([fault], (done + 1, done + 1)), done + 1


def _batches(frame: Any, start: int) -> Iterator[Any]:
    """Batches of a lazy frame; older polars reads slices instead, which skip row groups by their metadata."""
    if hasattr(frame, "collect_batches"):
        yield from frame.slice(start).collect_batches(chunk_size=PARQUET_ROWS, maintain_order=True)
        return
    while (batch := frame.slice(start, PARQUET_ROWS).collect()).height:
        yield batch
        start += batch.height


def cut_log(path: str, start: int = 0) -> Iterator[Known]:
    """Pieces of an Inspect log after `start` samples.

    Raises:
        InputError: The log cannot be read.
        MissingExtraError: inspect-ai is not installed.
    """
    try:
        from inspect_ai.log import read_eval_log, read_eval_log_samples
    except ImportError as error:
        raise MissingExtraError(f"reading the Inspect log {path}", "inspect", error.name or "inspect_ai") from error
    rows: list[Row | Rejected] = []
    number = 0
    try:
        head = read_eval_log(path, header_only=True)
        samples = read_eval_log_samples(path, all_samples_required=False)
        for number, sample in enumerate(samples, 1):
            if number > start:
                rows.append(Row(number, path, _sample_fields(sample, head.eval.task, head.eval.model)))
            if len(rows) == LOG_ROWS:
                yield Known(rows, (number, number))
                rows = []
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(f"cannot read {path} as an Inspect log: {error}") from error
    if rows:
        yield Known(rows, (number, number))


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

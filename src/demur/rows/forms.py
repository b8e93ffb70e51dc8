"""Writes rows as JSON lines, CSV or Parquet: some rows in, bytes out, in whatever process.

Parquet columns have one type: nested values are JSON text there, as in CSV, and a column whose rows disagree is text.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Sequence
from typing import Any, Protocol

from demur.errors import InputError

__all__ = ["EXACT", "Csv", "Form", "JsonLines", "ParquetPart", "find_form", "json_line"]

_LEVEL = 3  # of gzip: half the time of level 6 for a tenth more bytes


class Form(Protocol):
    """How rows become bytes. A form can travel to another process."""

    columns: list[str] | None
    """What a CSV header names; None until the first row is there, and in other forms."""

    def encode(self, rows: Sequence[dict[str, Any]]) -> bytes:
        """The rows as bytes that can stand behind those of other rows, or as a file of their own for Parquet."""


def find_form(path: str | None, columns: list[str] | None = None) -> Form:
    """The form that the name of a file tells.

    Args:
        path: `.jsonl`, `.csv`, `.tsv`, `.parquet`, `.gz` of the text formats; None is JSON lines.
        columns: The columns of a CSV file whose header is written already.

    Raises:
        InputError: The name does not tell a format that can be written.
    """
    name = "rows.jsonl" if path is None else path.lower()
    if name.endswith((".parquet", ".pq")):
        return ParquetPart()
    plain, packed = name.removesuffix(".gz"), name.endswith(".gz")
    if plain.endswith((".jsonl", ".ndjson", ".json")):
        return JsonLines(packed)
    if plain.endswith((".csv", ".tsv")):
        return Csv(columns, "\t" if plain.endswith(".tsv") else ",", packed)
    raise InputError(
        f"cannot tell the format of the output {path!r}; end it in .jsonl, .csv, .tsv, .parquet, "
        "or .gz of a text format"
    )


class JsonLines:
    """JSON lines; `pack` makes each encoding one archive member, which every reader accepts."""

    columns: list[str] | None = None

    def __init__(self, packed: bool = False) -> None:
        self.packed = packed

    def encode(self, rows: Sequence[dict[str, Any]]) -> bytes:
        """The rows, one a line."""
        return self.join([json_line(row) for row in rows])

    def join(self, lines: Sequence[bytes]) -> bytes:
        """Lines that are encoded already."""
        return _pack(b"".join(lines)) if self.packed and lines else b"".join(lines)


def _pack(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=_LEVEL, mtime=0)


def json_line(row: dict[str, Any]) -> bytes:
    """One row as one line."""
    try:
        return (json.dumps(row, ensure_ascii=False, default=str) + "\n").encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can escape and UTF-8 cannot hold
        return (json.dumps(row, ensure_ascii=True, default=str) + "\n").encode("ascii")


class Csv:
    """CSV or TSV; the first row decides the columns."""

    def __init__(self, columns: list[str] | None = None, delimiter: str = ",", packed: bool = False) -> None:
        self.columns, self._delimiter, self._packed = columns, delimiter, packed

    def encode(self, rows: Sequence[dict[str, Any]]) -> bytes:
        """The rows, after the header where there is none yet.

        Raises:
            InputError: A row has a field that is no column.
        """
        lines: list[str] = []
        known: set[str] = set(self.columns or ())
        for row in rows:
            flat = _flatten(row)
            if self.columns is None:
                self.columns = list(flat)
                known = set(flat)
                lines.append(self._line(self.columns))
            if not known.issuperset(flat):
                raise InputError(
                    f"a row has the fields {', '.join(name for name in flat if name not in known)}, which the first "
                    "row did not have, and a CSV header cannot grow; write .jsonl instead"
                )
            lines.append(self._line([_cell(flat.get(name)) for name in self.columns]))
        data = "".join(lines).encode("utf-8", "backslashreplace")
        return _pack(data) if self._packed and data else data

    def _line(self, cells: list[str]) -> str:
        """A line as `csv.writer` writes it, in a fifth of the time for long texts."""
        delimiter = self._delimiter
        quoted = [
            '"' + cell.replace('"', '""') + '"'
            if delimiter in cell or "\n" in cell or '"' in cell or "\r" in cell
            else cell
            for cell in cells
        ]
        # an empty line would be no row
        return delimiter.join(quoted) + "\r\n" if quoted != [""] else '""\r\n'


def _flatten(row: dict[str, Any]) -> dict[str, Any]:
    """Verdicts become columns `verdict_*`; other nested values stay one cell."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name == "verdict" and isinstance(value, dict):
            flat.update({f"verdict_{key}": part for key, part in value.items()})
        else:
            flat[name] = value
    return flat


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, (bool, dict, list)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


class ParquetPart:
    """A Parquet file of its own for some rows; the sink joins them."""

    columns: list[str] | None = None

    def encode(self, rows: Sequence[dict[str, Any]]) -> bytes:
        """The rows as a file."""
        import polars as pl

        if not rows:
            return b""
        out = io.BytesIO()
        pl.DataFrame(_columns(rows), strict=False).write_parquet(out)
        return out.getvalue()


EXACT = 2**53
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
        if kinds == {int, float} and whole <= EXACT:
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

"""One row of a file, read or set aside with the reason, and pieces of some hundred rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

__all__ = ["RAW_KEPT", "Known", "Piece", "Rejected", "Row", "UnreadableError", "shown"]

RAW_KEPT = 2_000
"""Characters of an unreadable row that are kept: enough to find it, too few to fill a disk."""


class Row(NamedTuple):
    """One readable row."""

    line: int
    """Line of the file where it ends, counted from 1; for Parquet and logs the row's number."""
    source: str
    """The file, or `-`."""
    fields: dict[str, Any]
    """Every field as it came, in order; then the keys of the partition that the row itself does not have."""
    raw: bytes | None = None
    """The same as one JSON object, where it was read from one: UTF-8, without the line break."""


class Rejected(NamedTuple):
    """One row that could not be read."""

    line: int
    """Line of the file where it starts, or 0 for the file as a whole; the reason says where it ends when that is
    another one."""
    why: str
    raw: str
    """The row's own text, cut to 2,000 characters."""
    source: str = "-"


class UnreadableError(Exception):
    """A row cannot be read; the message says why."""


def shown(text: bytes | str) -> str:
    """What is kept of an unreadable row; bytes that are not UTF-8 are written as escapes."""
    start = text[: 4 * RAW_KEPT]  # four bytes a character at most
    known = start.decode("utf-8", "backslashreplace") if isinstance(start, bytes) else start
    return known.rstrip("\r\n")[:RAW_KEPT]


@dataclass(slots=True)
class Known:
    """A piece of a file whose rows are read already."""

    items: list[Row | Rejected]
    end: tuple[int, int]
    """How far the file was read: bytes or rows, and lines."""

    def rows(self) -> Iterator[Row | Rejected]:
        """The rows."""
        return iter(self.items)


class Piece(Protocol):
    """Some rows of a file, cut from it by one process and parsed by another."""

    @property
    def end(self) -> tuple[int, int]:
        """How far the file was read: bytes or rows, and lines. Reading can begin again from here."""

    def rows(self) -> Iterator[Row | Rejected]:
        """The rows, those that cannot be read among them."""

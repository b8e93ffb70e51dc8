"""JSON lines: cut into pieces of whole lines by one process, parsed by another."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from demur.errors import InputError
from demur.rows.row import RAW_KEPT, Known, Rejected, Row, UnreadableError, shown
from demur.rows.streams import BROKEN, Blocks

__all__ = ["ARRAY", "LINE_LIMIT", "Lines", "cut_lines"]

LINE_LIMIT = 64 * 2**20
"""Longest line of JSON in bytes; a file without line breaks must not be read into memory whole."""

ARRAY = re.compile(rb"(?:\xef\xbb\xbf)?\s*\[\s*(?:\{|$)")
"""How a file begins that is one JSON array."""

_MARK = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Lines:
    """Some whole lines."""

    source: str
    data: bytes
    after: int
    """Lines before them."""
    offset: int
    """Bytes of the file up to their end."""
    keys: dict[str, Any]
    """Fields of the partition."""
    broken: str | None = None
    """Why nothing can be read after them; what stands behind the last line break is then part of the damage."""

    @property
    def end(self) -> tuple[int, int]:
        """Bytes and lines of the file up to the end."""
        return self.offset, self.after + self.data.count(b"\n")

    def rows(self) -> Iterator[Row | Rejected]:
        """The rows of the lines, those that cannot be read among them."""
        lines = self.data.split(b"\n")
        last = len(lines)
        members = json.dumps(self.keys, ensure_ascii=False).encode()[1:-1]
        for number, line in enumerate(lines, self.after + 1):
            whole = number - self.after < last
            if self.broken and not whole:
                yield Rejected(number, self.broken, shown(line), self.source)
                return
            if len(line) + whole > LINE_LIMIT:
                yield _too_long(number, line, self.source)
                continue
            text = (line.removeprefix(_MARK) if number == 1 else line).strip()
            if not text:
                continue
            try:
                fields = _parse(text, whole)
            except UnreadableError as error:
                yield Rejected(number, str(error), shown(line), self.source)
                continue
            if members:
                text, fields = _with_keys(text, fields, self.keys)
            yield Row(number, self.source, fields, text)


def _too_long(number: int, line: bytes, source: str) -> Rejected:
    return Rejected(number, f"the line is longer than {LINE_LIMIT:,} bytes", shown(line), source)


def _parse(line: bytes, whole: bool) -> dict[str, Any]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"not UTF-8 at byte {error.start} of the line") from error
    if "\x00" in text:
        raise UnreadableError("a nul byte stands in the line")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        cut = "" if whole else "; the file ends in the middle of this row"
        raise UnreadableError(f"not JSON: {error.msg} at column {error.colno}{cut}") from error
    except (ValueError, RecursionError) as error:  # integers of thousands of digits, brackets without end
        raise UnreadableError(f"not usable JSON: {error}") from error
    if not isinstance(value, dict):
        raise UnreadableError(f"expected a JSON object, got {type(value).__name__}")
    return value


def _with_keys(text: bytes, fields: dict[str, Any], keys: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    new = {name: value for name, value in keys.items() if name not in fields}
    if not new:
        return text, fields
    members = json.dumps(new, ensure_ascii=False).encode()[1:-1]
    return text[:-1] + (b", " if fields else b"") + members + b"}", fields | new


def cut_lines(
    blocks: Blocks,
    source: str,
    size: int,
    *,
    start: tuple[int, int] = (0, 0),
    keys: dict[str, Any] | None = None,
    may_be_array: bool = False,
) -> Iterator[Lines | Known | None]:
    """Pieces of about `size` bytes that end with a line, or None where a pipe has nothing to give for now.

    Args:
        blocks: The bytes from `start` on.
        source: Named in the rows.
        size: Bytes from which a piece is handed out; a longer line makes a longer piece, to the limit of a line.
        start: Bytes and lines of the file before the blocks.
        keys: Fields of the partition.
        may_be_array: Whether the file may be one JSON array.

    Raises:
        InputError: It is one JSON array; the message says what to do.
    """
    offset, after = start
    held: list[bytes] = []
    length, breaks = 0, -1  # bytes held, and the last block held that has a line break
    checked = not may_be_array

    def lines(data: bytes, broken: str | None = None) -> Lines:
        nonlocal offset, after, checked
        if not checked and data.strip():
            checked = True
            if ARRAY.match(data):
                raise InputError(
                    f"{source} holds one JSON array, and rows are read from JSON lines; "
                    "write them with: jq -c '.[]' FILE > rows.jsonl"
                )
        piece = Lines(source, data, after, offset + len(data), keys or {}, broken)
        offset, after = piece.end
        return piece

    try:
        for block in blocks:
            if block:
                held.append(block)
                length += len(block)
                if b"\n" in block:
                    breaks = len(held) - 1
                if length < size:
                    continue
            if breaks >= 0:
                cut = held[breaks].rfind(b"\n") + 1
                piece = lines(b"".join((*held[:breaks], held[breaks][:cut])))
                held = [held[breaks][cut:], *held[breaks + 1 :]]
                length, breaks = sum(map(len, held)), -1
                yield piece
            elif length > LINE_LIMIT:
                kept = lines(b"".join(held)[: 4 * RAW_KEPT])
                length, rest = _skip_line(length, blocks)
                offset, after = kept.offset - len(kept.data) + length, after + 1
                held, length, breaks = [rest], len(rest), 0 if b"\n" in rest else -1
                yield Known([_too_long(after, kept.data, source)], (offset, after))
            elif block is None:
                yield None
    except BROKEN as error:
        yield lines(b"".join(held), f"the compressed file {source} ends or breaks here: {error}")
        return
    if length:
        yield lines(b"".join(held))


def _skip_line(length: int, blocks: Blocks) -> tuple[int, bytes]:
    """Reads to the end of a line of which `length` bytes were read; its length, and what was read after it."""
    for block in blocks:
        if block:
            end = block.find(b"\n") + 1
            length += end or len(block)
            if end:
                return length, block[end:]
    return length, b""

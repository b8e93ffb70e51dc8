"""Reads the file formats that people keep rows in, one row or one piece at a time.

JSON lines, CSV and Parquet, gzip of the first two, standard input (`-`), and Inspect `.eval` logs. A row that cannot be
read becomes a `Rejected` with its line number and the reason; it never stops the stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from demur.errors import InputError
from demur.rows.inputs import Input, is_stream, plain_name
from demur.rows.jsonl import ARRAY, cut_lines
from demur.rows.row import Piece, Rejected, Row
from demur.rows.streams import BROKEN, Blocks, Stream, skip
from demur.rows.tables import cut_csv, cut_log, cut_parquet

__all__ = ["PIECE", "RowReader"]

PIECE = 2**19
"""Bytes of a piece: about five hundred rows, so that handing it on costs little and losing it costs little, too."""


class RowReader:
    """Streams one file, `-` included; the format follows from the name.

    Where the name says nothing (standard input, named pipes and other devices) the first bytes tell.

    Iterating yields `Row` and `Rejected` in file order. It raises `InputError` when the file as a whole cannot be read
    as what its name says, and `MissingExtraError` when an Inspect log is given and inspect-ai is not installed.

    Args:
        path: The file, or `-` for standard input; or an `Input`, whose keys become fields.
    """

    def __init__(self, path: str | Input) -> None:
        self.file = path if isinstance(path, Input) else Input(path, {})
        self.path = self.file.path
        self._stream: Stream | None = None
        self._part: float | None = None if is_stream(self.path) else 0.0

    @property
    def fraction(self) -> float | None:
        """How much of the file has been read, 0 to 1; None when its size is not known."""
        return self._stream.fraction if self._stream else self._part

    def __iter__(self) -> Iterator[Row | Rejected]:
        for piece in self.pieces():
            if piece is not None:
                yield from piece.rows()

    def pieces(self, start: tuple[int, int] = (0, 0), *, size: int = PIECE) -> Iterator[Piece | None]:
        """The file in pieces, and None where a pipe has nothing to give for now.

        Args:
            start: The `end` of a piece; what comes after it is read.
            size: Bytes or characters from which a piece of text is handed out.
        """
        if self.path.lower().endswith((".parquet", ".pq")):
            for piece, total in cut_parquet(self.file, start[0]):
                self._part = piece.end[0] / max(total, 1)
                yield piece
            self._part = 1.0
        elif self.path.lower().endswith(".eval"):
            yield from cut_log(self.path, start[0])
            self._part = 1.0
        else:
            yield from self._text(start, size)

    def _text(self, start: tuple[int, int], size: int) -> Iterator[Piece | None]:
        name = plain_name(self.path)
        told = name.endswith((".csv", ".tsv", ".jsonl", ".ndjson", ".json"))
        if not told and not is_stream(self.path):
            raise InputError(
                f"{self.path}: the name does not tell the format; expected .jsonl, .csv, .tsv, .parquet, .eval, "
                "or .gz of a text format"
            )
        with Stream(self.path, size) as self._stream:
            is_csv = name.endswith((".csv", ".tsv"))
            if not told:
                is_csv, blocks = _looks_like_csv(self._stream.blocks())
                blocks = skip(blocks, 0 if is_csv else start[0], self.path)
            else:
                blocks = self._stream.blocks(0 if is_csv else start[0])
            if is_csv:
                delimiter = "\t" if name.endswith(".tsv") else ","
                yield from cut_csv(blocks, self.path, size, delimiter=delimiter, start=start[0], keys=self.file.keys)
            else:
                may_be_array = not start[0] and (not told or name.endswith(".json"))
                yield from cut_lines(
                    blocks, self.path, size, start=start, keys=self.file.keys, may_be_array=may_be_array
                )


def _looks_like_csv(blocks: Blocks) -> tuple[bool, Blocks]:
    """What the first bytes are, and the blocks with them."""
    seen: list[bytes | None] = []
    head = b""
    try:
        while len(head) < 512 and not (head and seen[-1] is None):
            block = next(blocks)
            seen.append(block)
            head = (head + (block or b"")).lstrip(b"\xef\xbb\xbf \t\r\n")
    except StopIteration:
        pass
    except BROKEN as error:
        return False, _raise_after(seen, error)  # the reader of lines names the line
    is_csv = bool(head) and not head.startswith(b"{") and not ARRAY.match(head)
    return is_csv, chain(seen, blocks)


def _raise_after(seen: list[bytes | None], error: BaseException) -> Blocks:
    yield from seen
    raise error

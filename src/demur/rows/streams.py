"""Bytes of a file as blocks of UTF-8: gzip is unpacked, UTF-16 recoded, and a pipe that pauses says so."""

from __future__ import annotations

import codecs
import gzip
import io
import select
import sys
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

from demur.errors import InputError, RunError
from demur.rows.inputs import is_stream

__all__ = ["BROKEN", "Blocks", "Stream", "skip"]

BROKEN = (EOFError, zlib.error, gzip.BadGzipFile)
"""What a damaged archive raises."""

Blocks = Iterator[bytes | None]
"""Pieces of a file, and None where a pipe has nothing to give for now."""

_PAUSE = 0.2  # seconds after which what has come of a pipe is worth handing on
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"), (codecs.BOM_UTF8, "utf-8"),
)  # fmt: skip


class Stream(AbstractContextManager["Stream"]):
    """An open file, `-` included. Use it as a context manager.

    Args:
        path: The file; one that ends in `.gz`, and a stream that begins like an archive, is unpacked.
        size: Most bytes of a block.

    Raises:
        InputError: The file cannot be opened, or is no archive though its name says so.
    """

    def __init__(self, path: str, size: int) -> None:
        self.path, self._block = path, size
        self.plain = True
        """Whether an offset in the blocks is one in the file."""
        self._size = Path(path).stat().st_size if path != "-" and Path(path).is_file() else 0
        try:
            # stdin is not ours to close, a file is closed at the end
            self._raw: IO[bytes] = sys.stdin.buffer if path == "-" else Path(path).open("rb")  # noqa: SIM115
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error

    @property
    def fraction(self) -> float | None:
        """How much of the file has been read, 0 to 1; None when its size is not known."""
        if not self._size:
            return None
        return 1.0 if self._raw.closed else self._raw.tell() / self._size

    def blocks(self, start: int = 0) -> Blocks:
        """The file from an offset on, counted in what it holds once it is unpacked and recoded.

        Raises:
            InputError: The file is no archive though its name says so, or reading fails.
            RunError: The file is shorter than the offset.
            EOFError, zlib.error, BadGzipFile: The archive ends or breaks here.
        """
        try:
            blocks = self._unpacked()
            first = next(blocks, b"") or b""
            encoding = next((name for mark, name in _MARKS if first.startswith(mark)), "utf-8")
            self.plain = self.plain and encoding == "utf-8"
            if start and self.plain and self._size >= start and not is_stream(self.path):
                self._raw.seek(start)
                yield from self._read(self._raw)
                return
            blocks = chain([first], blocks)
            yield from skip(_recoded(blocks, encoding) if encoding != "utf-8" else blocks, start, self.path)
        except OSError as error:
            if isinstance(error, BROKEN):
                raise
            raise InputError(f"cannot read {self.path}: {error.strerror}") from error

    def _unpacked(self) -> Blocks:
        stream = self._raw if isinstance(self._raw, io.BufferedReader) else io.BufferedReader(cast("Any", self._raw))
        if stream.peek(2)[:2] == b"\x1f\x8b":
            self.plain = False
            with gzip.GzipFile(fileobj=stream) as unpacked:
                # what was unpacked before the damage is handed out before the error
                while block := unpacked.read1(self._block):
                    yield block
            return
        if self.path.lower().endswith(".gz"):
            raise InputError(f"{self.path} does not hold gzip, though its name says so")
        yield from self._read(stream)

    def _read(self, stream: Any) -> Blocks:
        descriptor = _descriptor(self._raw) if is_stream(self.path) else None
        # what a look at the first bytes has buffered would not wake up a wait for more
        ready = descriptor is None or bool(stream.peek(1))
        while True:
            while descriptor is not None and not ready and not select.select([descriptor], [], [], _PAUSE)[0]:
                yield None
            if not (block := stream.read1(self._block)):
                return
            yield block
            ready = descriptor is None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.path != "-":
            self._raw.close()


def _descriptor(raw: IO[bytes]) -> int | None:
    try:
        return raw.fileno()
    except OSError:  # a stream of this process, with no file behind it
        return None


def _recoded(blocks: Blocks, encoding: str) -> Blocks:
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    for block in blocks:
        yield None if block is None else decoder.decode(block).encode("utf-8", "surrogatepass")
    if decoder.getstate()[0]:
        yield b"\xff"  # half a character: the row that ends in it is not readable


def skip(blocks: Blocks, left: int, path: str) -> Blocks:
    """The blocks without their first `left` bytes.

    Raises:
        RunError: There are not so many.
    """
    for block in blocks:
        if block is None or not left:
            yield block
        else:
            if len(block) > left:
                yield block[left:]
            left = max(left - len(block), 0)
    if left:
        raise RunError(f"{path} is shorter than when its first rows were read; start over with --force")

"""The input of `demur classify`: pieces of all its files in order, from a mark on, with the fields that matter."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

from demur.errors import InputError
from demur.rows import Fields, Input, Piece, Rejected, Row, RowReader, find_fields
from demur.rows.row import Known

__all__ = ["Intake", "Mark", "Task"]

LOOKED_AT = 100
"""Readable rows at the start of a file in which its fields are looked for."""

HELD = 8
"""Most pieces in which they are."""


_SET_ASIDE = (-1, -1)
"""The end of a file that cannot be read."""


class Mark(NamedTuple):
    """How far the input was read."""

    file: int = 0
    """Files that are done."""
    at: tuple[int, int] = (0, 0)
    """The end of the last piece of the next file."""
    names: Fields | None = None
    """The fields of that file, where they are known."""

    @classmethod
    def from_json(cls, kept: Sequence[Any]) -> Mark:
        """A mark that went through JSON."""
        file, at, names = kept
        return cls(file, (at[0], at[1]), None if names is None else Fields(*names))


class Task(NamedTuple):
    """A piece of the input."""

    piece: Piece
    names: Fields | None
    """None when no row of it can be read."""
    mark: Mark
    """Where to go on after it."""


class Intake:
    """Pieces of several files.

    Args:
        inputs: The files.
        prompt_field: As for `find_fields`.
        response_field: As for `find_fields`.
        label_field: As for `find_fields`.
        start: Where an earlier run stopped.
        size: Bytes or characters of a piece of text.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        *,
        prompt_field: str | None,
        response_field: str | None,
        label_field: str | None,
        start: Mark,
        size: int,
    ) -> None:
        self._inputs, self._start, self._size = inputs, start, size
        self._prompt_field, self._response_field, self._label_field = prompt_field, response_field, label_field
        self._source = self._tasks()
        self._begun: Iterator[Task | None] = self._source
        self._file = start.file
        self._reader: RowReader | None = None

    @property
    def fraction(self) -> float | None:
        """How much of the input has been read, 0 to 1; None when its size is not known."""
        part = self._reader.fraction if self._reader else None
        return None if part is None else (self._file + part) / len(self._inputs)

    def look_ahead(self) -> None:
        """Reads as far as the first piece.

        Raises:
            InputError: The only file cannot be read, or the first has no fitting fields.
        """
        first = next((task for task in self._source if task is not None), None)
        self._begun = chain(() if first is None else (first,), self._source)

    def close(self) -> None:
        """Closes the file that is being read."""
        self._source.close()

    def __iter__(self) -> Iterator[Task | None]:
        """Tasks, and None where a pipe has nothing to give for now."""
        return iter(self._begun)

    def _tasks(self) -> Generator[Task | None, None, None]:
        for number, file in enumerate(self._inputs):
            start = self._start if number == self._start.file else Mark(number)
            if number < self._start.file or start.at == _SET_ASIDE:
                continue
            self._file, self._reader = number, RowReader(file)
            yield from self._of_file(self._reader, start)

    def _of_file(self, reader: RowReader, start: Mark) -> Iterator[Task | None]:
        names = start.names
        held: list[Piece] = []
        seen: list[dict[str, Any]] = []

        def tasks() -> Iterator[Task]:
            nonlocal names
            if names is None and seen:
                names = self._find(seen, reader.path)
            for piece in held:
                yield Task(piece, names, Mark(start.file, piece.end, names))
            held.clear()

        for piece in self._pieces(reader, start):
            if piece is None:
                yield from tasks()
                yield None
                continue
            held.append(piece)
            if names is None:
                rows = (row.fields for row in piece.rows() if isinstance(row, Row))
                seen += islice(rows, LOOKED_AT - len(seen))
                if len(seen) < LOOKED_AT and len(held) < HELD:
                    continue
            yield from tasks()
        yield from tasks()

    def _pieces(self, reader: RowReader, start: Mark) -> Iterator[Piece | None]:
        """The pieces of a file; one of several files that cannot be read is set aside whole."""
        try:
            yield from reader.pieces(start.at, size=self._size)
        except InputError as error:
            if len(self._inputs) == 1:
                raise
            yield Known([Rejected(0, str(error), "", reader.path)], _SET_ASIDE)

    def _find(self, seen: Sequence[dict[str, Any]], path: str) -> Fields:
        return find_fields(
            seen,
            prompt_field=self._prompt_field,
            response_field=self._response_field,
            label_field=self._label_field,
            source=path,
        )

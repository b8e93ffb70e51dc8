"""From what a user names to the files that are read: paths, globs, folders of part files, standard input."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from demur.errors import InputError

__all__ = ["Input", "expand", "find_inputs", "is_stream", "plain_name"]

_TEXT = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
_BINARY = (".parquet", ".pq", ".eval")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_PARTITION = re.compile(r"([^=]+)=(.*)", re.DOTALL)


class Input(NamedTuple):
    """One file to read."""

    path: str
    """The path, or `-`."""
    keys: dict[str, str | None]
    """Fields that the names of its folders give it: `language=en/part-0.parquet`."""


def expand(inputs: Sequence[str], *, leave_out: Callable[[Path], bool] | None = None) -> list[str]:
    """The paths of `find_inputs`, for readers that need no keys."""
    return [file.path for file in find_inputs(inputs, leave_out=leave_out)]


def find_inputs(inputs: Sequence[str], *, leave_out: Callable[[Path], bool] | None = None) -> list[Input]:
    """The files that the inputs name: globs and folders in sorted order, `-` and plain paths as they are.

    Of a folder all files below it are taken whose names tell a format of rows, part files of several levels of
    `key=value` folders among them; names that start with `.` or `_` are no rows.

    Args:
        inputs: Paths, globs, folders, and `-`.
        leave_out: Tells files below a folder or a glob that are no inputs, an output in the same folder for one.

    Raises:
        InputError: A path does not exist, cannot be read or occurs twice, a glob or a folder holds nothing, or a name
            does not tell the format.
    """
    found: list[Input] = []
    for given in inputs:
        # an existing name goes before a pattern: files may be called a[1].jsonl
        if given == "-" or (Path(given).exists() and not Path(given).is_dir()):
            found.append(Input(given, {}))
        elif Path(given).is_dir():
            inside = [Input(str(file), _keys(file.relative_to(given).parts)) for file in _part_files(Path(given))]
            found += _wanted(inside, leave_out, f"the folder {given} holds no file of rows ({_known()})")
        elif glob.has_magic(given):
            root = next(number for number, part in enumerate(Path(given).parts) if glob.has_magic(part))
            matches = sorted(glob.glob(given, recursive=True))  # noqa: PTH207 - may be absolute
            files = [Input(match, _keys(Path(match).parts[root:])) for match in matches if Path(match).is_file()]
            found += _wanted(files, leave_out, f"no file matches {given!r}")
        else:
            raise InputError(f"{given} does not exist")
    if not found:
        raise InputError("no input was given; name a file, a folder, a glob, or - for standard input")
    _check(found)
    return found


def is_stream(path: str) -> bool:
    """Whether a path is no regular file; what hides behind /dev/stdin may be one, and its name says nothing still."""
    return path == "-" or path.startswith("/dev/") or (Path(path).exists() and not Path(path).is_file())


def plain_name(path: str) -> str:
    """The name that tells the format: in lower case and without `.gz`."""
    return path.lower().removesuffix(".gz")


def _known() -> str:
    return f"{', '.join((*_TEXT, *_BINARY))}, or .gz of a text format"


def _tells(path: str, endings: tuple[str, ...] = (*_TEXT, *_BINARY)) -> bool:
    name = plain_name(path)
    return name.endswith(endings) and not (name.endswith(_BINARY) and path.lower().endswith(".gz"))


def _part_files(folder: Path) -> Iterator[Path]:
    rows = tuple(ending for ending in (*_TEXT, *_BINARY) if ending != ".json")  # which is mostly about rows, not rows
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        for name in sorted(files):
            if not name.startswith((".", "_")) and _tells(name, rows):
                yield Path(place, name)


def _keys(parts: Iterable[str]) -> dict[str, str | None]:
    *folders, _ = parts
    pairs = [match.groups() for match in map(_PARTITION.fullmatch, folders) if match]
    return {unquote(key): None if value == _NO_VALUE else unquote(value) for key, value in pairs}


def _wanted(files: list[Input], leave_out: Callable[[Path], bool] | None, nothing: str) -> list[Input]:
    kept = [file for file in files if leave_out is None or not leave_out(Path(file.path))]
    if not kept:
        raise InputError(nothing)
    return kept


def _check(inputs: Sequence[Input]) -> None:
    """Finds before the first row what would stop the reading after a million of them."""
    seen: dict[Path | str, str] = {}
    for path, _ in inputs:
        place = path if path == "-" else Path(path).resolve()
        if place in seen:
            again = path if path == seen[place] else f"{path}, which is {seen[place]},"
            raise InputError(f"{again} is given twice; its rows would be judged and counted twice")
        seen[place] = path
        if path != "-" and not os.access(path, os.R_OK):
            raise InputError(f"cannot read {path}: Permission denied")
        if not is_stream(path) and not _tells(path):
            raise InputError(f"{path}: the name does not tell the format; expected {_known()}")

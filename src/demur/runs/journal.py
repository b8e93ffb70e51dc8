"""The journal: every response that was received, written down before anything else happens to it.

A response costs money or time, so a run must never ask twice for one it already had. The journal is an append-only file
of JSON lines, `{"key": ..., "value": ...}`. A line is handed to the operating system in one write the moment a response
arrives: a process that is killed loses at most the requests that were still under way. (After a power cut the last
seconds may be missing too: lines are not forced to the disk one by one.)

The key names the request by its content. A request that is made several times (epochs) has several lines with one key,
and each line is handed out once.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

from demur.errors import RunError

__all__ = ["Journal", "content_key"]


def content_key(content: Any) -> str:
    """A key for JSON-like `content`: equal content, equal key, whatever the order of its mappings."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _checked(line: Any) -> str:
    """The key of a line that has all it needs."""
    return str((line["key"], line["value"])[0])


class Journal:
    """An open journal. Use it as a context manager; only one process can hold it at a time.

    Args:
        path: The file; it is made when it does not exist.

    Raises:
        RunError: Another process holds the journal, or the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged: int = 0
        """Lines that could not be read; their requests are made again."""
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[tuple[int, int]]] = defaultdict(deque)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise RunError(f"cannot open the journal {path}: {error.strerror or error}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise RunError(
                f"another process is writing to {path.parent}; wait for it to end, or choose another --out"
            ) from None
        except OSError as error:
            os.close(self._descriptor)
            raise RunError(f"cannot lock {path}: {error.strerror or error}; choose another --out") from error
        self._size = self._index()

    def _index(self) -> int:
        """Notes where each whole line lies, and cuts off a last line that a kill tore."""
        offset = 0
        self.recorded = 0
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(0)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    key = _checked(json.loads(line))
                except (ValueError, KeyError, TypeError):
                    self.damaged += 1
                else:
                    self._waiting[key].append((offset, len(line)))
                    self.recorded += 1
                offset += len(line)
        os.ftruncate(self._descriptor, offset)
        return offset

    def take(self, key: str) -> Any | None:
        """The value of the next line with `key` that was not handed out yet, or None."""
        with self._lock:
            if not self._waiting.get(key):
                return None
            offset, length = self._waiting[key].popleft()
        return json.loads(os.pread(self._descriptor, length, offset))["value"]

    def append(self, key: str, value: Any) -> None:
        """Writes one line.

        Raises:
            RunError: The line could not be written whole (a full disk, say); the journal stays readable.
        """
        line = (json.dumps({"key": key, "value": value}, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
        with self._lock:
            try:
                rest = memoryview(line)
                while rest:  # a short write is how a full disk first shows; the next one says why
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError as error:
                os.ftruncate(self._descriptor, self._size)
                raise RunError(
                    f"cannot write to {self.path}: {error.strerror or error}. What was received before is kept; "
                    "make room and resume"
                ) from error
            self._size += len(line)
            self.recorded += 1

    def close(self) -> None:
        """Releases the file; closing twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

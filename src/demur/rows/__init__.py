"""Rows of prompts and responses, streamed in and out of whatever people keep them in, with flat memory.

JSON lines, CSV and Parquet, gzip of the first two, standard input (`-`), globs, folders of part files, and Inspect
`.eval` logs. A row that cannot be read becomes a `Rejected` with its line number and the reason; it never stops the
stream.
"""

from __future__ import annotations

from demur.rows.exchange import Exchange, Fields, find_fields, read_exchange, read_texts
from demur.rows.inputs import Input, expand, find_inputs
from demur.rows.prompts import read_prompts
from demur.rows.reader import RowReader
from demur.rows.row import Piece, Rejected, Row
from demur.rows.sinks import Sink, open_sink

__all__ = [
    "Exchange",
    "Fields",
    "Input",
    "Piece",
    "Rejected",
    "Row",
    "RowReader",
    "Sink",
    "expand",
    "find_fields",
    "find_inputs",
    "open_sink",
    "read_exchange",
    "read_prompts",
    "read_texts",
]

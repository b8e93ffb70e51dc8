"""Tables for notebooks, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

__all__ = ["html_table"]


def html_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table whose cells are escaped; floats are shown with three decimals."""

    def line(cells: Sequence[Any], tag: str) -> str:
        shown = (f"{cell:.3f}" if isinstance(cell, float) else "" if cell is None else str(cell) for cell in cells)
        return "<tr>" + "".join(f"<{tag}>{escape(text)}</{tag}>" for text in shown) + "</tr>"

    body = "".join(line(cells, "td") for cells in rows)
    return f"<table><caption>{escape(caption)}</caption>{line(head, 'th')}{body}</table>"

"""What a page of findings is made of: sections of sentences, figures and tables, as plain data.

A study fills them, `plots` draws the figures and `pages` lays them out; because they are plain data, a page can be made
again from the JSON that a study keeps.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Dots", "Dotted", "Figure", "Grid", "Heatmap", "Line", "Lines", "Scatter", "Section", "Series", "Table"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Grid(_Part):
    """One panel of a heat map."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    """(row, column); None is left blank."""
    marked: tuple[tuple[bool, ...], ...] = ()
    """(row, column); a mark says that the value is beyond its null."""


class Heatmap(_Part):
    """Values over two axes, such as layers and positions."""

    kind: Literal["heatmap"] = "heatmap"
    name: str
    title: str
    panels: tuple[Grid, ...]
    low: float
    high: float
    label: str
    """What the colours mean."""
    rows_label: str = ""
    columns_label: str = ""
    marks: str = ""
    """What a mark means."""


class Series(_Part):
    """Points of one colour."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


class Scatter(_Part):
    """Points in two dimensions, by group."""

    kind: Literal["scatter"] = "scatter"
    name: str
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]


class Line(_Part):
    """One line, with a band if it has one."""

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    faint: bool = False
    """Whether it is a control."""


class Lines(_Part):
    """Lines over one axis."""

    kind: Literal["lines"] = "lines"
    name: str
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    y_range: tuple[float, float] | None = None
    spans: tuple[tuple[str, float, float], ...] = ()
    """Named stretches of the axis: name, begin, end."""


class Dotted(_Part):
    """A column of values with intervals."""

    title: str
    values: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    null: tuple[float, float] | None = None
    """A range that chance gives."""


class Dots(_Part):
    """Rows with a dot and an interval in one or more columns."""

    kind: Literal["dots"] = "dots"
    name: str
    title: str
    rows: tuple[str, ...]
    panels: tuple[Dotted, ...]


Figure = Annotated[Heatmap | Scatter | Lines | Dots, Field(discriminator="kind")]


class Table(_Part):
    """A table; numbers are shown with three decimals."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


class Section(_Part):
    """One finding with what shows it."""

    name: str
    title: str
    sentences: tuple[str, ...] = ()
    """What was found, in words; the first is the finding."""
    notes: tuple[str, ...] = ()
    """How it was measured and what to beware of."""
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    missing: str | None = None
    """Why there is nothing to show, if there is not."""
    data: dict[str, Any] = {}
    """The numbers, for programs."""

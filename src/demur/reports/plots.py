"""Draws the figures of a page as SVG and PNG, fit for print, in colours that the colour-blind tell apart."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demur.atomic import replacing
from demur.errors import InputError
from demur.reports.sections import Dots, Figure, Heatmap, Lines, Scatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

__all__ = ["COLOURS", "draw", "svg", "write"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The palette of Okabe and Ito."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_SOFT = "#5b646f"
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "demur",
    "savefig.facecolor": "white",
}
_WIDTH = 7.2  # inches: two columns of a journal, and the width of the page


def draw(figure: Figure) -> Canvas:
    """The figure as a matplotlib figure, for a notebook or a format of one's own."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        if isinstance(figure, Heatmap):
            return _heatmap(figure)
        if isinstance(figure, Scatter):
            return _scatter(figure)
        if isinstance(figure, Lines):
            return _lines(figure)
        return _dots(figure)


def svg(figure: Figure) -> str:
    """The figure as an SVG element without prologue, described for those who do not see it.

    Its ids begin with the figure's name, so that several of them can stand on one page.
    """
    import re

    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        text = _saved(draw(figure), "svg").decode()
    text = text[text.index("<svg") :]
    text = re.sub(r'(\bid="|url\(#|xlink:href="#|href="#)', rf"\g<1>{figure.name}-", text)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    # a page scales it to its column
    text = re.sub(r'<svg ([^>]*?)width="[^"]*" ', r"<svg \1", text, count=1)
    text = re.sub(r'<svg ([^>]*?)height="[^"]*" ', r"<svg \1", text, count=1)
    return text.replace("<svg ", f'<svg role="img" aria-labelledby="caption-{figure.name}" ', 1)


def write(figure: Figure, folder: Path) -> list[Path]:
    """Write `NAME.svg` and `NAME.png` (300 dots an inch) into `folder`.

    Raises:
        InputError: A file cannot be written.
    """
    import matplotlib as mpl

    found, drawn = [], draw(figure)
    for kind in ("svg", "png"):
        file = folder / f"{figure.name}.{kind}"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as temporary, mpl.rc_context(_STYLE):
                temporary.write_bytes(_saved(drawn, kind))
        except OSError as error:
            raise InputError(
                f"cannot write the figure {file}: {error.strerror or error}; name another folder"
            ) from error
        found.append(file)
    return found


def _saved(canvas: Canvas, kind: str) -> bytes:
    held = io.BytesIO()
    canvas.savefig(held, format=kind, dpi=300, metadata={"Date": None} if kind == "svg" else None)
    return held.getvalue()


def _canvas(height: float) -> Canvas:
    from matplotlib.figure import Figure as Canvas

    return Canvas(figsize=(_WIDTH, height), layout="constrained")


def _heatmap(figure: Heatmap) -> Canvas:
    panels = figure.panels
    rows = max(len(p.rows) for p in panels)
    columns = max(len(p.columns) for p in panels)
    canvas = _canvas(min(8.0, 1.5 + 0.27 * rows))
    places: Any = canvas.subplots(1, len(panels), squeeze=False)[0]
    diverging = figure.low < 0 < figure.high
    image = None
    for place, panel in zip(places, panels, strict=True):
        values = [[math.nan if v is None else v for v in row] for row in panel.values]
        # a mesh, because an image would be pixels in a drawing of lines
        image = place.pcolormesh(
            [c - 0.5 for c in range(len(panel.columns) + 1)],
            [r - 0.5 for r in range(len(panel.rows) + 1)],
            values,
            vmin=figure.low,
            vmax=figure.high,
            cmap="RdBu_r" if diverging else "cividis",
        )
        place.set_title(panel.title, loc="left")
        place.set_xticks(range(len(panel.columns)), panel.columns, rotation=40, ha="right", rotation_mode="anchor")
        step = max(1, len(panel.rows) // 16)
        place.set_yticks(range(0, len(panel.rows), step), panel.rows[::step])
        place.set_xlabel(figure.columns_label)
        place.tick_params(length=0)
        place.spines[:].set_visible(False)
        if rows <= 16 and columns <= 8:
            _numbers(place, values, figure.low, figure.high, diverging, len(panels) * columns)
        for r, marks in enumerate(panel.marked):
            for c, marked in enumerate(marks):
                if marked:
                    place.add_patch(_frame(c, r))
    places[0].set_ylabel(figure.rows_label)
    if image is not None:
        canvas.colorbar(image, ax=list(places), label=figure.label, shrink=0.9, pad=0.02).outline.set_visible(False)
    return canvas


def _frame(column: int, row: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.46, row - 0.44), 0.92, 0.88, fill=False, edgecolor="white", linewidth=1.3)


def _numbers(
    place: Axes, values: Sequence[Sequence[float]], low: float, high: float, diverging: bool, crowd: int
) -> None:
    for r, row in enumerate(values):
        for c, value in enumerate(row):
            if math.isnan(value):
                continue
            share = (value - low) / (high - low)
            light = 0.2 < share < 0.8 if diverging else share > 0.55
            text = f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.1f}"
            place.text(
                c,
                r,
                text,
                ha="center",
                va="center",
                fontsize=6 if crowd > 10 else 7,
                color="black" if light else "white",
            )


def _scatter(figure: Scatter) -> Canvas:
    canvas = _canvas(4.4)
    place = canvas.add_subplot(xlabel=figure.x_label, ylabel=figure.y_label)
    for number, series in enumerate(figure.series):
        place.scatter(
            series.x,
            series.y,
            s=16,
            marker=_MARKERS[number % len(_MARKERS)],
            color=COLOURS[number % len(COLOURS)],
            alpha=0.75,
            linewidths=0,
            label=f"{series.name} ({len(series.x)})",
        )
    place.axhline(0, color="0.75", linewidth=0.7, zorder=0)
    place.axvline(0, color="0.75", linewidth=0.7, zorder=0)
    place.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8)
    return canvas


def _lines(figure: Lines) -> Canvas:
    canvas = _canvas(3.2)
    place = canvas.add_subplot(xlabel=figure.x_label, ylabel=figure.y_label)
    if figure.y_range:
        place.set_ylim(*figure.y_range)
    for number, (name, begin, end) in enumerate(figure.spans):
        place.axvspan(begin, end, color="0.94" if number % 2 else "0.88", zorder=0, linewidth=0)
        place.text(
            (begin + end) / 2, 1.01, name, transform=place.get_xaxis_transform(), ha="center", fontsize=7.5, color=_SOFT
        )
    chosen = 0
    for line in figure.lines:
        y = [math.nan if v is None else v for v in line.y]
        if line.faint:
            colour, width, label = "0.55", 0.9, line.name
        else:
            colour, width, label = COLOURS[chosen % len(COLOURS)], 1.6, line.name
            chosen += 1
        if line.low and line.high:
            low, high = ([math.nan if v is None else v for v in end] for end in (line.low, line.high))
            place.fill_between(line.x, low, high, color=colour, alpha=0.18, linewidth=0)
        marker = "" if len(y) > 40 else _MARKERS[chosen % len(_MARKERS)]
        place.plot(line.x, y, color=colour, linewidth=width, marker=marker, markersize=3.5, label=label)
    if all(x == int(x) for line in figure.lines for x in line.x):
        from matplotlib.ticker import MaxNLocator

        place.xaxis.set_major_locator(MaxNLocator(integer=True))
    place.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8)
    return canvas


def _dots(figure: Dots) -> Canvas:
    canvas = _canvas(0.9 + 0.27 * len(figure.rows))
    places: Any = canvas.subplots(1, len(figure.panels), sharey=True, squeeze=False)[0]
    levels = range(len(figure.rows))[::-1]
    for number, (place, panel) in enumerate(zip(places, figure.panels, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        if panel.null:
            place.axvspan(*panel.null, color="0.9", linewidth=0, zorder=0)
        for level, value, low, high in zip(
            levels,
            panel.values,
            panel.low or (None,) * len(levels),
            panel.high or (None,) * len(levels),
            strict=True,
        ):
            if value is None:
                continue
            if low is not None and high is not None:
                place.plot([low, high], [level, level], color=colour, linewidth=1.6, alpha=0.5, solid_capstyle="butt")
            place.plot([value], [level], marker="o", markersize=4.5, color=colour)
        place.set_title(panel.title, loc="left")
        place.grid(axis="y", color="0.92", linewidth=0.7)
        place.set_axisbelow(True)
        place.tick_params(axis="y", length=0)
        place.spines["left"].set_visible(False)
    places[0].set_yticks(list(levels), figure.rows)
    places[0].set_ylim(-0.6, len(figure.rows) - 0.4)
    return canvas

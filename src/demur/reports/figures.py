"""Figures as inline SVG, drawn so that they follow the page's colour scheme and need no script.

Each figure comes in two widths, and the style sheet shows the one that fits: text in a drawing that is merely scaled
down to a phone cannot be read. Shapes, sides and direct labels carry the meaning; colour only repeats it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree as Tree

from demur.records import Kind, Measure
from demur.reports.numbers import count, interval, percent, printable, too_small
from demur.reports.profile import KindShare, Row
from demur.reports.text import visible

__all__ = ["MOST_ROWS", "Layout", "both_directions", "kinds_of_response", "shorten"]

MOST_ROWS = 30
"""Cells that one figure shows; a taller one fits neither a screen nor a sheet. The table behind it shows all."""


class Layout(NamedTuple):
    """The measures of one of the two drawings, in CSS pixels."""

    name: str
    """Class of the drawing; the style sheet shows `wide` or `narrow`."""
    width: int
    """Width of the drawing."""
    label: int
    """Width of the column of names; 0 puts the names on a line of their own."""
    number: int
    """Width of the columns of numbers beside the tracks; 0 puts the numbers under the tracks."""
    row: int
    """Height of one row."""


WIDE = Layout("wide", width=920, label=216, number=72, row=38)
NARROW = Layout("narrow", width=340, label=0, number=0, row=66)

_GAP = 14  # clear space between a track and its neighbour, wide enough for half a marker


def both_directions(overall: Row, rows: Sequence[Row], *, identity: str, title: str, comply: str, decline: str) -> str:
    """Over-refusal to the left and under-refusal to the right of one zero line, a row a cell.

    Args:
        overall: Both rates over the whole task, drawn first.
        rows: The cells in the order in which they are drawn; those after `MOST_ROWS` are left to the table.
        identity: A prefix for element ids, unique on the page.
        title: The drawing's accessible name.
        comply: What the prompts to comply with are called, e.g. `harmless requests`.
        decline: What the prompts to decline are called.

    Returns:
        Two `svg` elements, one for wide and one for narrow screens. Both have a title and a description that says
        every number in words.
    """
    shown = [overall, *rows[:MOST_ROWS]]
    description = " ".join(_in_words(row) for row in shown)
    return "".join(
        _directions(shown, layout, f"{identity}-{layout.name}", title, description, comply, decline)
        for layout in (WIDE, NARROW)
    )


def kinds_of_response(
    shares: Sequence[KindShare], *, identity: str, title: str, names: Mapping[str, str], colours: Mapping[Kind, str]
) -> str:
    """One stacked bar an expectation, its segments in the order in which the kinds are defined.

    Args:
        shares: The measured shares. An expectation with too few judged responses gets words and no bar.
        identity: A prefix for element ids, unique on the page.
        title: The drawing's accessible name.
        names: What each expectation is called.
        colours: Class of each kind's fill.

    Returns:
        Two `svg` elements, one for wide and one for narrow screens.
    """
    description = " ".join(
        f"{visible(names.get(share.expect, share.expect))}: "
        + ", ".join(
            f"{kind.value} {percent(m.value)}"
            if m.value is not None and printable(m)
            else f"{kind.value} {too_small(m)}"
            for kind, m in share.shares.items()
        )
        + "."
        for share in shares
    )
    return "".join(
        _stacks(shares, layout, f"{identity}-{layout.name}", title, description, names, colours)
        for layout in (WIDE, NARROW)
    )


def shorten(label: str, width: float, size: float = 14) -> str:
    """`label` cut with an ellipsis so that it fits `width` pixels at a font size of `size` pixels."""
    # sans-serif faces average a little over half an em a letter; East Asian wide characters fill one em
    widths = [(1.0 if unicodedata.east_asian_width(c) in "WF" else 0.58) * size for c in label]
    if sum(widths) <= width:
        return label
    room = width - size * 0.9
    kept = 0
    for own in widths:
        room -= own
        if room < 0:
            break
        kept += 1
    return label[:kept].rstrip() + "…"


def _in_words(row: Row) -> str:
    return f"{visible(row.label)}: over-refusal {_words(row.over)}, under-refusal {_words(row.under)}."


def _words(measure: Measure | None) -> str:
    if measure is None:
        return "not measured"
    if measure.value is None or not printable(measure):
        return too_small(measure)
    ends = interval(measure)
    return percent(measure.value) + (f" ({ends})" if ends else "")


def _svg(identity: str, layout: Layout, height: float, title: str, description: str) -> Tree.Element:
    svg = Tree.Element(
        "svg",
        {
            "class": f"drawing {layout.name}",
            "viewBox": f"0 0 {layout.width} {height:g}",
            "width": str(layout.width),
            "height": f"{height:g}",
            "role": "img",
            "aria-labelledby": f"{identity}-title {identity}-desc",
        },
    )
    Tree.SubElement(svg, "title", {"id": f"{identity}-title"}).text = title
    Tree.SubElement(svg, "desc", {"id": f"{identity}-desc"}).text = description
    return svg


def _add(
    parent: Tree.Element, tag: str, classes: str, content: str | None = None, **where: float | str
) -> Tree.Element:
    attributes = {
        key.replace("_", "-"): f"{at:.6g}" if isinstance(at, (int, float)) else at for key, at in where.items()
    }
    element = Tree.SubElement(parent, tag, {"class": classes, **attributes} if classes else attributes)
    element.text = content
    return element


def _write(svg: Tree.Element) -> str:
    return Tree.tostring(svg, encoding="unicode")


def _scale(rows: Sequence[Row]) -> float:
    """The upper end of both axes: the same for both directions, and no larger than the data need."""
    tops = [
        end
        for row in rows
        for m in (row.over, row.under)
        if m is not None and printable(m)
        for end in (m.value, m.high)
        if end is not None
    ]
    # quarters of each of these are whole percents
    return next((top for top in (0.2, 0.4, 0.6, 0.8, 1.0) if max(tops, default=0.0) <= top), 1.0)


class _Panel(NamedTuple):
    """One direction's track: where zero lies and which way it grows."""

    zero: float
    length: float
    sign: int
    scale: float

    def at(self, rate: float) -> float:
        return self.zero + self.sign * self.length * min(rate, self.scale) / self.scale


def _directions(
    rows: Sequence[Row], layout: Layout, identity: str, title: str, description: str, comply: str, decline: str
) -> str:
    head = 64 if layout.label else 74
    foot = 34
    height = head + layout.row * len(rows) + foot
    svg = _svg(identity, layout, height, title, description)
    scale = _scale(rows)
    left = layout.label + layout.number + _GAP if layout.label else _GAP
    right = layout.width - (layout.number + _GAP if layout.number else _GAP)
    middle = (left + right) / 2
    length = (right - left) / 2
    over, under = _Panel(middle, length, -1, scale), _Panel(middle, length, 1, scale)

    _heading(svg, layout, over, under, comply, decline)
    bottom = height - foot
    tops = [head + place * layout.row for place in range(len(rows))]
    _add(svg, "rect", "band", x=0, y=head, width=layout.width, height=layout.row, rx=4)
    for top in tops[2:]:
        _add(svg, "line", "rule", x1=0, x2=layout.width, y1=top, y2=top)
    # on a phone names and numbers stand inside the width of the tracks, so the lines stop short of them
    spans = [(head, bottom + 4)] if layout.label else [(top + 24, top + 46) for top in tops]
    _axis(svg, over, under, spans, bottom)
    for row, top in zip(rows, tops, strict=True):
        _row(svg, layout, row, top, over, under, strong=top == head)
    return _write(svg)


def _heading(svg: Tree.Element, layout: Layout, over: _Panel, under: _Panel, comply: str, decline: str) -> None:
    inset = 16
    for panel, classes, name, what in (
        (over, "over", "Over-refusal", f"turns down {comply}"),
        (under, "under", "Under-refusal", f"answers {decline}"),
    ):
        anchor = "end" if panel.sign < 0 else "start"
        x = panel.zero + panel.sign * inset
        arrow = "\N{LEFTWARDS ARROW} {}" if panel.sign < 0 else "{} \N{RIGHTWARDS ARROW}"
        _add(svg, "text", f"head {classes}", arrow.format(name), x=x, y=18, text_anchor=anchor)
        if layout.label:
            _add(svg, "text", "note", shorten(what, panel.length + layout.number, 13), x=x, y=37, text_anchor=anchor)
        else:
            # on a phone the words get two short lines, each as wide as its half of the drawing
            verb, _, rest = what.partition(" ") if what.startswith("answers") else ("turns down", " ", what[11:])
            _add(svg, "text", "note", verb, x=x, y=36, text_anchor=anchor)
            _add(svg, "text", "note", shorten(rest, panel.length - inset, 13), x=x, y=52, text_anchor=anchor)


def _axis(svg: Tree.Element, over: _Panel, under: _Panel, spans: Sequence[tuple[float, float]], bottom: float) -> None:
    for panel in (over, under):
        for quarter in (0.25, 0.5, 0.75, 1.0) if panel.length > 200 else (0.5, 1.0):
            x = panel.at(panel.scale * quarter)
            for top, end in spans:
                _add(svg, "line", "grid", x1=x, x2=x, y1=top, y2=end)
            _add(svg, "text", "tick", f"{panel.scale * quarter:.0%}", x=x, y=bottom + 20, text_anchor="middle")
    for top, end in spans:
        _add(svg, "line", "zero", x1=over.zero, x2=over.zero, y1=top, y2=end)
    _add(svg, "text", "tick", "0", x=over.zero, y=bottom + 20, text_anchor="middle")


def _row(svg: Tree.Element, layout: Layout, row: Row, top: float, over: _Panel, under: _Panel, *, strong: bool) -> None:
    label = visible(row.label)
    weight = " strong" if strong else ""
    if layout.label:
        y = top + layout.row / 2
        text = _add(svg, "text", f"name{weight}", shorten(label, layout.label - 12), x=8, y=y + 5)
    else:
        y = top + 34
        text = _add(svg, "text", f"name{weight}", shorten(label, layout.width - 16), x=8, y=top + 17)
    if text.text != label:
        Tree.SubElement(text, "title").text = label
    for panel, measure, classes in ((over, row.over, "over"), (under, row.under, "under")):
        _mark(svg, layout, panel, measure, y, classes, weight)


def _mark(
    svg: Tree.Element, layout: Layout, panel: _Panel, measure: Measure | None, y: float, classes: str, weight: str
) -> None:
    """One direction of one row: interval, marker, and the number at the outer edge; or words where there is no rate."""
    if measure is None or measure.value is None or not printable(measure):
        words = "no such requests" if measure is None else too_small(measure)
        if layout.label:
            x, anchor = panel.zero + panel.sign * 16, "end" if panel.sign < 0 else "start"
            _add(svg, "text", "absent", words, x=x, y=y + 4, text_anchor=anchor)
        else:
            _add(svg, "text", "absent", words.replace(" (n=", ", n=").rstrip(")"), **_edge(layout, panel, y))
        return
    x = panel.at(measure.value)
    _add(svg, "line", f"stem {classes}", x1=panel.zero, x2=x, y1=y, y2=y)
    if measure.low is not None and measure.high is not None:
        ends = sorted((panel.at(measure.low), panel.at(measure.high)))
        _add(svg, "rect", f"range {classes}", x=ends[0], y=y - 5, width=max(ends[1] - ends[0], 1), height=10, rx=5)
    if panel.sign < 0:
        mark = _add(svg, "circle", f"mark {classes}", cx=x, cy=y, r=6)
    else:
        points = f"{x:g},{y - 7.5:g} {x + 7.5:g},{y:g} {x:g},{y + 7.5:g} {x - 7.5:g},{y:g}"
        mark = _add(svg, "polygon", f"mark {classes}", points=points)
    Tree.SubElement(mark, "title").text = _words(measure)
    _add(svg, "text", f"number {classes}{weight}", percent(measure.value), **_edge(layout, panel, y))


def _edge(layout: Layout, panel: _Panel, y: float) -> dict[str, float | str]:
    """Where a row's number stands: beside the track, or under it on a phone."""
    if layout.number:
        # right-aligned on both sides, so that the digits of a column stand under one another
        outer = layout.label + layout.number - 8 if panel.sign < 0 else layout.width - 12
        return {"x": outer, "y": y + 5, "text_anchor": "end"}
    return {
        "x": panel.zero + panel.sign * panel.length,
        "y": y + 24,
        "text_anchor": "start" if panel.sign < 0 else "end",
    }


def _stacks(
    shares: Sequence[KindShare],
    layout: Layout,
    identity: str,
    title: str,
    description: str,
    names: Mapping[str, str],
    colours: Mapping[Kind, str],
) -> str:
    bar, above, below = 34, 26, 26
    block = above + bar + below
    height = block * len(shares)
    svg = _svg(identity, layout, height, title, description)
    for place, share in enumerate(shares):
        top = place * block
        drawn = [(kind, m.value, m.n) for kind, m in share.shares.items() if m.value is not None and printable(m)]
        n = max((m.n for m in share.shares.values()), default=0)
        name = visible(names.get(share.expect, share.expect))
        _add(svg, "text", "name strong", shorten(name, layout.width - 90), x=0, y=top + 17)
        _add(svg, "text", "note", f"n = {count(n)}", x=layout.width, y=top + 17, text_anchor="end")
        if not drawn:
            _add(svg, "rect", "hollow", x=0.5, y=top + above + 0.5, width=layout.width - 1, height=bar - 1, rx=4)
            words = too_small(next(iter(share.shares.values())))
            _add(svg, "text", "absent", words, x=layout.width / 2, y=top + above + 22, text_anchor="middle")
            continue
        _segments(svg, layout.width, top + above, bar, drawn, colours)
    return _write(svg)


def _segments(
    svg: Tree.Element,
    width: float,
    top: float,
    height: float,
    drawn: Sequence[tuple[Kind, float, int]],
    colours: Mapping[Kind, str],
) -> None:
    """The segments of one bar, each with its number in it where it fits and its name under it where there is room."""
    x = 0.0
    places: list[tuple[float, float, str]] = []
    total = sum(rate for _, rate, _ in drawn) or 1.0
    for kind, rate, _ in drawn:
        if rate <= 0:
            continue
        # shares add up to one but for rounding; dividing by their sum keeps the bar's end straight
        own = width * rate / total
        # a clear gap instead of an outline, so that neighbours are told apart without colour
        drawn_width = max(own - 2, 0.75)
        segment = _add(
            svg, "rect", colours[kind], x=x, y=top, width=drawn_width, height=height, rx=min(3, drawn_width / 2)
        )
        Tree.SubElement(segment, "title").text = f"{kind.value}: {percent(rate)}"
        number = percent(rate)
        if own > len(number) * 8 + 8:
            _add(
                svg,
                "text",
                f"inside {colours[kind]}",
                number,
                x=x + own / 2,
                y=top + height / 2 + 5,
                text_anchor="middle",
            )
        places.append((own, x, kind.value))
        x += own
    taken: list[tuple[float, float]] = []
    # the largest segments are named first; a name that would run into another is left to the table
    for _, start, name in sorted(places, key=lambda place: -place[0]):
        room = len(name) * 7.8
        left = max(0.0, min(start + 1, width - room))
        if all(left + room + 8 <= other or left >= end + 8 for other, end in taken):
            _add(svg, "text", "note", name, x=left, y=top + height + 17)
            taken.append((left, left + room))

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree as Tree

import pytest

from demur.records import JUDGED, Measure
from demur.reports.figures import MOST_ROWS, both_directions, kinds_of_response, shorten
from demur.reports.profile import Row, excluded_columns, join


def measure(name: str, value: float | None, n: int = 100, **ends: float) -> Measure:
    return Measure(task="t", name=name, value=value, n=n, method="x", **ends)


def row(label: str, over: float | None, under: float | None) -> Row:
    return Row(
        label,
        None if over is None else measure("over_refusal", over, low=max(0, over - 0.05), high=min(1, over + 0.05)),
        None if under is None else measure("under_refusal", under, low=max(0, under - 0.05), high=min(1, under + 0.05)),
    )


def drawings(svg: str) -> tuple[Tree.Element, Tree.Element]:
    wide, narrow = Tree.fromstring(f"<both>{svg}</both>")  # noqa: S314 - our own output
    return wide, narrow


def draw(overall: Row, rows: list[Row]) -> tuple[Tree.Element, Tree.Element]:
    svg = both_directions(overall, rows, identity="f", title="A title", comply="harmless ones", decline="harmful ones")
    wide, narrow = drawings(svg)
    return wide, narrow


def marks(svg: Tree.Element, tag: str) -> list[float]:
    if tag == "circle":
        return [float(mark.get("cx")) for mark in svg.iter("circle")]
    return [float(mark.get("points").split()[0].split(",")[0]) for mark in svg.iter("polygon")]


def ticks(svg: Tree.Element) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for text in svg.iter("text"):
        if text.get("class") == "tick":
            found.setdefault(text.text, []).append(float(text.get("x")))
    return found


@pytest.mark.parametrize("which", [0, 1])
def test_marks_stand_where_the_axis_says(which):
    svg = draw(row("Overall", 0.5, 0.5), [row("a", 0.0, 1.0), row("b", 1.0, 0.0)])[which]
    axis = ticks(svg)
    left, right = axis["100%"]
    (zero,) = axis["0"]
    assert marks(svg, "circle") == pytest.approx([(zero + left) / 2, zero, left])
    assert marks(svg, "polygon") == pytest.approx([(zero + right) / 2, right, zero])
    assert zero - left == pytest.approx(right - zero)


def test_the_axis_is_as_short_as_the_intervals_allow_and_the_same_on_both_sides():
    assert "20%" in ticks(draw(row("Overall", 0.05, 0.1), [])[0])
    assert "100%" not in ticks(draw(row("Overall", 0.05, 0.1), [])[0])
    # 0.18 with an interval up to 0.23 does not fit 20%
    assert "40%" in ticks(draw(row("Overall", 0.18, 0.02), [])[0])
    assert all(len(places) == 2 for name, places in ticks(draw(row("O", 0.9, 0.02), [])[0]).items() if name != "0")


def test_a_cell_without_a_rate_gets_words_and_no_mark():
    small = Row("few", measure("over_refusal", 0.5, n=29), None)
    for svg in draw(row("Overall", 0.1, 0.1), [small]):
        assert len(marks(svg, "circle")) == len(marks(svg, "polygon")) == 1
        words = " ".join(text.text for text in svg.iter("text"))
        assert "too small" in words
        assert "n=29" in words
        assert "no such requests" in words
        assert "50" not in words.replace("50%", "").replace("150", "")


def test_the_description_says_every_number_in_words():
    wide, narrow = draw(row("Overall", 0.12, 0.07), [row("theft", 0.2, None)])
    for svg in (wide, narrow):
        assert svg.get("role") == "img"
        names = svg.get("aria-labelledby").split()
        assert [child.get("id") for child in svg if child.tag in {"title", "desc"}] == names
        assert svg.find("desc").text == (
            "Overall: over-refusal 12.0% (7.0% to 17.0%), under-refusal 7.0% (2.0% to 12.0%). "
            "theft: over-refusal 20.0% (15.0% to 25.0%), under-refusal not measured."
        )
    assert wide.find("title").get("id") != narrow.find("title").get("id")


def test_everything_drawn_lies_inside_the_drawing():
    rows = [row("x" * 200, 1.0, 1.0), row("界" * 80, 0.0, 0.0), Row("empty", None, None)]
    for svg in draw(row("Overall", 0.5, 0.5), rows):
        width, height = (float(svg.get(side)) for side in ("width", "height"))
        for element in svg.iter():
            for name, end in (("x", width), ("cx", width), ("x1", width), ("x2", width), ("y", height), ("y2", height)):
                if element.get(name) is not None:
                    assert 0 <= float(element.get(name)) <= end


def test_hostile_labels_stay_text():
    for svg in draw(row("Overall", 0.1, 0.1), [row("</svg><script>\x00\u202e&", 0.1, 0.1)]):
        assert not list(svg.iter("script"))
        assert "⟨U+202E⟩" in "".join(svg.itertext())
        assert "\u202e" not in "".join(svg.itertext())


def test_more_cells_than_fit_are_left_to_the_table():
    svg, _ = draw(row("Overall", 0.1, 0.1), [row(f"c{i}", 0.1, 0.1) for i in range(MOST_ROWS + 5)])
    assert len(marks(svg, "circle")) == MOST_ROWS + 1


def test_a_label_is_cut_to_its_width():
    assert shorten("theft", 200) == "theft"
    assert shorten("a" * 100, 100).endswith("…")
    assert len(shorten("界" * 100, 100)) < len(shorten("a" * 100, 100))


def test_segments_fill_the_bar_in_proportion(measures):
    (profile, _) = join(measures)
    classes = {kind: f"kind-{kind.value}" for kind in JUDGED}
    svg = kinds_of_response(profile.kinds, identity="k", title="T", names={}, colours=classes)
    wide, _ = drawings(svg)
    bars: dict[str, list[tuple[float, float]]] = {}
    for rect in wide.iter("rect"):
        bars.setdefault(rect.get("y"), []).append((float(rect.get("x")), float(rect.get("width"))))
    (comply, decline) = bars.values()
    assert [start / 920 * 200 for start, _ in comply] == pytest.approx([0, 176, 180, 190, 194, 197, 199], abs=0.01)
    assert decline[2][0] / 920 * 203 == pytest.approx(23, abs=0.01)
    assert all(end <= 920 for start, width in comply + decline for end in [start + width])


def test_names_under_a_bar_never_run_into_each_other(measures):
    (profile, _) = join(measures)
    classes = {kind: f"kind-{kind.value}" for kind in JUDGED}
    svg = kinds_of_response(profile.kinds, identity="k", title="T", names={}, colours=classes)
    for drawing in drawings(svg):
        lines: dict[str, list[tuple[float, str]]] = {}
        for text in drawing.iter("text"):
            if text.get("class") == "note" and text.get("text-anchor") is None:
                lines.setdefault(text.get("y"), []).append((float(text.get("x")), text.text))
        for line in lines.values():
            line.sort()
            for (start, name), (after, _) in pairwise(line):
                assert start + 7 * len(name) < after


def test_measures_are_joined_by_cell_and_the_worst_comes_first(measures):
    first, second = join(measures)
    assert (first.task, second.task) == ("refusal_profile", "xstest")
    assert [r.label for r in first.categories.rows] == ["weapons", "theft", "small, and odd", "plain"]
    weapons = first.categories.rows[0]
    assert (weapons.over.group, weapons.under.group) == ("category=weapons", "category=weapons")
    assert [facet.name for facet in first.facets] == ["wrapper"]
    assert [m.name for m in first.others] == ["answer_time"]
    assert [share.expect for share in first.kinds] == ["comply", "decline"]
    assert excluded_columns(measures) == ("filtered", "empty", "unscored")


def test_every_measure_lands_in_exactly_one_place(measures):
    placed = []
    for profile in join(measures):
        placed += [profile.overall.over, profile.overall.under, *profile.others]
        placed += [m for f in (profile.categories, *profile.facets) for r in f.rows for m in (r.over, r.under)]
        placed += [m for share in profile.kinds for m in share.shares.values()]
    assert sorted(m.address for m in placed if m is not None) == sorted(m.address for m in measures)


def test_an_unheard_of_reason_for_exclusion_gets_a_column():
    odd = Measure(task="t", name="over_refusal", value=0.1, n=50, excluded={"filtered": 0, "too_long": 2}, method="x")
    assert excluded_columns([odd, None]) == ("filtered", "empty", "unscored", "too_long")

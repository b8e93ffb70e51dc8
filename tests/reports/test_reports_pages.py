"""Pages of findings: every kind of figure is drawn, the page is whole and loads nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from demur.errors import InputError, RunError
from demur.reports.pages import render_page, write_page
from demur.reports.plots import svg, write
from demur.reports.sections import (
    Dots,
    Dotted,
    Figure,
    Grid,
    Heatmap,
    Line,
    Lines,
    Scatter,
    Section,
    Series,
    Table,
)

GRID = Grid(
    title="Harm", rows=("0", "1"), columns=("a", "b"), values=((0.5, None), (0.9, 1.0)), marked=((False, False),) * 2
)
FIGURES: tuple[Figure, ...] = (
    Heatmap(name="heat", title="Heat", panels=(GRID, GRID), low=0.5, high=1.0, label="AUROC"),
    Scatter(name="cloud", title="Cloud", x_label="x", y_label="y", series=(Series(name="s", x=(0, 1), y=(1, 0)),)),
    Lines(
        name="lines",
        title="Lines",
        x_label="layer",
        y_label="P",
        lines=(
            Line(name="one", x=(0, 1, 2), y=(0.1, None, 0.3)),
            Line(name="band", x=(0, 1, 2), y=(0.1, 0.2, 0.3), low=(0, 0.1, 0.2), high=(0.2, 0.3, 0.4), faint=True),
        ),
        spans=(("prompt", 0, 1), ("answer", 1, 2)),
    ),
    Dots(
        name="dots",
        title="Dots",
        rows=("first", "second"),
        panels=(Dotted(title="rate", values=(0.2, None), low=(0.1, None), high=(0.3, None), null=(0.0, 0.05)),),
    ),
)


def page(section: Section, **changes: str) -> str:
    told = {"title": "Inside", "subject": "a model", "headline": "Found.", "note": "Beware."} | changes
    return render_page(**told, facts=[("layers", "4")], sections=[section])


@pytest.mark.parametrize("figure", FIGURES, ids=lambda f: f.kind)
def test_every_kind_of_figure_is_written_as_svg_and_png(figure: Figure, tmp_path: Path) -> None:
    vector, pixels = write(figure, tmp_path)
    assert vector.read_text().count("<svg") == 1
    assert pixels.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("figure", FIGURES, ids=lambda f: f.kind)
def test_a_figure_is_the_same_each_time(figure: Figure) -> None:
    assert svg(figure) == svg(figure)


def test_ids_of_figures_on_one_page_differ_and_lead_somewhere() -> None:
    text = page(Section(name="s", title="S", figures=FIGURES))
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:xlink:href="#|url\(#|aria-labelledby=")([^")]+)', text)) <= set(ids)


def test_the_page_loads_nothing_and_holds_no_script() -> None:
    text = page(Section(name="s", title="S", sentences=("Found.",), figures=FIGURES, notes=("So.",)))
    assert "<script" not in text
    outside = [a for a in re.findall(r'(?:src|href)="([^"]+)"', text) if not a.startswith(("#", "data:"))]
    assert outside == []
    parser = HTMLParser()
    parser.feed(text)
    parser.close()


def test_what_users_name_cannot_become_markup() -> None:
    text = page(Section(name="s", title="S", sentences=("<b>x</b>",)), subject="<img src=x>", headline="a & b")
    assert "<img" not in text
    assert "<b>x</b>" not in text


def test_a_section_without_a_result_says_why() -> None:
    assert "Not measured: there are too few prompts" in page(
        Section(name="s", title="S", missing="there are too few prompts")
    )


def test_cells_show_numbers_in_words() -> None:
    table = Table(caption="c", head=("a",) * 6, rows=(("x", 0.12345, 1234, True, None, (0.1, 0.2)),))
    cells = re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", page(Section(name="s", title="S", tables=(table,))))
    assert cells[-6:] == ["x", "0.123", "1,234", "yes", "", "0.100 to 0.200"]


def test_sections_survive_their_json() -> None:
    section = Section(name="s", title="S", figures=FIGURES, data={"a": 1})
    assert Section.model_validate_json(section.model_dump_json()) == section


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    with pytest.raises(RunError, match="choose a folder"):
        write_page(taken / "page.html", "x")
    with pytest.raises(InputError, match="name another folder"):
        write(FIGURES[0], taken)

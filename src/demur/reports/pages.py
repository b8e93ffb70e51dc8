"""A page of findings as one HTML text: no script, nothing loaded from anywhere, printable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from demur.atomic import write_text
from demur.errors import RunError
from demur.reports import plots
from demur.reports.sections import Section
from demur.reports.templating import environment

__all__ = ["render_page", "write_page"]


def render_page(
    *, title: str, subject: str, headline: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section], note: str
) -> str:
    """Lay sections out.

    Args:
        title: What kind of page it is, such as `Refusal from inside`.
        subject: The model.
        headline: The finding of the whole page, in a sentence.
        facts: What the reader must know of the making: name and value.
        sections: In the order of the page.
        note: What the page does not show.
    """
    from markupsafe import Markup

    drawn = {figure.name: Markup(plots.svg(figure)) for section in sections for figure in section.figures}  # noqa: S704 - our own drawing
    return (
        environment()
        .get_template("page.html")
        .render(title=title, subject=subject, headline=headline, facts=facts, sections=sections, drawn=drawn, note=note)
    )


def write_page(path: Path, page: str) -> Path:
    """Write a page in one step.

    Raises:
        RunError: It cannot be written.
    """
    try:
        write_text(path, page)
    except OSError as error:
        raise RunError(
            f"the page cannot be written to {path}: {error.strerror or error}. What was measured is kept; choose a "
            "folder that can be written to"
        ) from error
    return path

"""The templates of the pages, with the filters that they use."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from demur.reports import numbers
from demur.reports.text import visible

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["environment", "facet_label"]


@cache
def environment() -> Environment:
    """One environment for all pages; an undefined name is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("demur.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        count=numbers.count,
        percent=numbers.percent,
        interval=numbers.interval,
        value=numbers.value,
        moment=numbers.moment,
        visible=visible,
        facet_label=facet_label,
        cell=_cell,
    )
    made.tests["printable"] = numbers.printable
    return made


def facet_label(name: str) -> str:
    """The name of a facet as it is read."""
    return visible(name).replace("_", " ")


def _cell(value: Any) -> str:
    """A number, a word or a range in a cell of a table."""
    match value:
        case None:
            text = ""
        case bool():
            text = "yes" if value else "no"
        case float():
            text = f"{value:.3f}"
        case int():
            text = f"{value:,}"
        case list() | tuple():
            text = " to ".join(_cell(one) for one in value)
        case _:
            text = visible(str(value))
    return text

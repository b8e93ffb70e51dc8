"""The measures of one task, joined: over- and under-refusal side by side, cell by cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from demur.records import JUDGED, UNJUDGED, Kind, Measure
from demur.reports.numbers import printable

__all__ = ["Facet", "KindShare", "Profile", "Row", "Slice", "excluded_columns", "excluded_total", "join"]

_OVER, _UNDER, _DECLINED, _SHARE = "over_refusal", "under_refusal", "declined", "kind_share"


class Row(NamedTuple):
    """One cell, e.g. one category, in both directions."""

    label: str
    """The cell's name."""
    over: Measure | None
    """Declined among prompts to comply with; None when the cell holds no such prompts."""
    under: Measure | None
    """Complied with among prompts to decline; None when the cell holds no such prompts."""

    @property
    def worst(self) -> float:
        """The larger of the two printable rates; -1 when neither may be printed."""
        rates = [m.value for m in (self.over, self.under) if m is not None and printable(m) and m.value is not None]
        return max(rates, default=-1.0)


class Facet(NamedTuple):
    """The cells of one way to slice a task, e.g. all its wrappers."""

    name: str
    """What the samples were grouped by."""
    rows: tuple[Row, ...]
    """The cells, the largest error first and cells without a printable rate last; stretches of a scale in its order."""


class Slice(NamedTuple):
    """What was declined in the cells of one way to slice a task, when the prompts do not say what they expect."""

    name: str
    """What the samples were grouped by."""
    rows: tuple[tuple[str, Measure], ...]
    """Each cell's name and rate, the highest first; cells without a printable rate last."""


class KindShare(NamedTuple):
    """What the model did with prompts of one expectation."""

    expect: str
    """`comply`, `decline`, or another text that the measures carry."""
    shares: Mapping[Kind, Measure]
    """Share of each judged kind, in the order of `JUDGED`."""


class Profile(NamedTuple):
    """Everything that one task measured."""

    task: str
    """The task's name."""
    overall: Row
    """Both rates over the whole task."""
    categories: Facet
    """Both rates by category; without rows when the task has no categories."""
    facets: tuple[Facet, ...]
    """Both rates by every other way to slice, in the order in which they were measured."""
    kinds: tuple[KindShare, ...]
    """Kinds of response by expectation: comply first, then decline, then others."""
    others: tuple[Measure, ...]
    """Measures that are none of the above."""
    declined: Measure | None = None
    """Declined among all prompts; None when these say what they expect, and the two errors say more."""
    slices: tuple[Slice, ...] = ()
    """What was declined by category first, then by every other way to slice; empty unless `declined` is there."""


def join(measures: Iterable[Measure]) -> tuple[Profile, ...]:
    """One profile a task; the refusal profile first, then tasks with an overall rate, then the others."""
    tasks: dict[str, list[Measure]] = {}
    for measure in measures:
        tasks.setdefault(measure.task, []).append(measure)
    profiles = [_profile(task, own) for task, own in tasks.items()]
    return tuple(sorted(profiles, key=_precedence))


def _precedence(profile: Profile) -> tuple[bool, bool]:
    has_rates = any((profile.overall.over, profile.overall.under, profile.declined))
    return profile.task.rpartition("/")[2] != "refusal_profile", not has_rates


def _profile(task: str, measures: Sequence[Measure]) -> Profile:
    overall: dict[str, Measure] = {}
    cells: dict[str, dict[str, dict[str, Measure]]] = {}
    shares: dict[str, dict[Kind, Measure]] = {}
    others: list[Measure] = []
    aimed = any(measure.name in {_OVER, _UNDER} for measure in measures)
    declined: list[Measure] = []
    for measure in measures:
        keys = _pairs(measure.group) if measure.name == _SHARE else _facet_of(measure.group)
        if measure.name in {_OVER, _UNDER} and measure.group is None:
            overall[measure.name] = measure
        elif measure.name in {_OVER, _UNDER} and len(keys) == 1:
            ((facet, label),) = keys.items()
            cells.setdefault(facet, {}).setdefault(label, {})[measure.name] = measure
        elif measure.name == _DECLINED and not aimed:
            declined.append(measure)
        elif measure.name == _SHARE and keys.keys() == {"expect", "kind"} and keys["kind"] in set(JUDGED):
            shares.setdefault(keys["expect"], {})[Kind(keys["kind"])] = measure
        else:
            others.append(measure)
    facets = {name: _facet(name, rows) for name, rows in cells.items()}
    categories = facets.pop("category", Facet("category", ()))
    first = ["comply", "decline"]
    return Profile(
        task=task,
        overall=Row("Overall", overall.get(_OVER), overall.get(_UNDER)),
        categories=categories,
        facets=tuple(facets.values()),
        kinds=tuple(
            KindShare(expect, {kind: shares[expect][kind] for kind in JUDGED if kind in shares[expect]})
            for expect in sorted(shares, key=lambda name: (first.index(name) if name in first else len(first), name))
        ),
        others=tuple(others),
        declined=next((measure for measure in declined if measure.group is None), None),
        slices=_slices(declined),
    )


def _slices(declined: Iterable[Measure]) -> tuple[Slice, ...]:
    cells: dict[str, list[tuple[str, Measure]]] = {}
    for measure in declined:
        for facet, label in _facet_of(measure.group).items():
            cells.setdefault(facet, []).append((label, measure))
    slices = [
        Slice(name, tuple(sorted(rows, key=lambda row: (-Row("", row[1], None).worst, row[0]))))
        for name, rows in cells.items()
    ]
    return tuple(sorted(slices, key=lambda one: one.name != "category"))


def _facet_of(group: str | None) -> dict[str, str]:
    """`category=theft` as a dict; a bare name is a category. The value may hold anything, commas and signs included."""
    if group is None:
        return {}
    facet, equals, label = group.partition("=")
    return {facet.strip(): label.strip()} if equals else {"category": group}


def _pairs(group: str | None) -> dict[str, str]:
    """`expect=comply,kind=refuse` as a dict."""
    parts = (part.partition("=") for part in (group or "").split(","))
    return {name.strip(): label.strip() for name, equals, label in parts if equals}


def _facet(name: str, cells: Mapping[str, Mapping[str, Measure]]) -> Facet:
    rows = [Row(label, pair.get(_OVER), pair.get(_UNDER)) for label, pair in cells.items()]
    if all(label.partition(" ")[0].isdigit() for label in cells):
        # cells that are stretches of a scale (lengths, say) are read along the scale
        return Facet(name, tuple(sorted(rows, key=lambda row: int(row.label.partition(" ")[0]))))
    return Facet(name, tuple(sorted(rows, key=lambda row: (-row.worst, row.label))))


def excluded_columns(measures: Iterable[Measure | None]) -> tuple[str, ...]:
    """Names of the columns that show what was left out: the three unjudged kinds always, others where they occur."""
    known = [kind.value for kind in UNJUDGED]
    extra = {name for measure in measures if measure is not None for name, left in measure.excluded.items() if left}
    return (*known, *sorted(extra - set(known)))


def excluded_total(measures: Iterable[Measure | None]) -> dict[str, int]:
    """Samples left out of the given measures, counted by kind; kinds without any are absent."""
    total: dict[str, int] = {}
    for measure in measures:
        for name, left in (measure.excluded if measure is not None else {}).items():
            if left:
                total[name] = total.get(name, 0) + left
    return total

"""The picture of a card: planted against measured, and the errors of each group.

On the left a dot a condition, with its interval where answers were sampled; on the right a line for each group.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from demur.atomic import replacing
from demur.errors import InputError

if TYPE_CHECKING:
    from demur.phantom.card import Card, Condition

__all__ = ["draw", "family"]

# Families of conditions as they are drawn: name, groups, marker, colour (of the Okabe-Ito palette, told apart by the
# colour-blind). Groups that none of them names are scenes.
_FAMILIES = (
    ("direct", ("direct",), "o", "#0072B2"),
    ("wrapped", ("wrapped",), "s", "#E69F00"),
    ("styles, disclaimer", ("style", "disclaimer"), "^", "#009E73"),
    ("judgements, notes", ("judgement", "note"), "D", "#CC79A7"),
    ("reasoning", ("reasoning",), "v", "#D55E00"),
    ("scenes", None, "P", "#56B4E9"),
    ("held-out texts", ("held_out",), "x", "#000000"),
    ("sampled answers", ("sampled",), "*", "#7A5C00"),
)


def family(group: str) -> str:
    """The family that a group of conditions is drawn in."""
    first = group.partition("/")[0]
    return next((name for name, groups, _, _ in _FAMILIES if groups and first in groups), "scenes")


def draw(card: Card, file: Path) -> None:
    """Draw `card` into `file`; its suffix chooses the format (SVG, PNG, PDF), SVG when there is none.

    Raises:
        InputError: The suffix names no format, or the file cannot be written.
    """
    from matplotlib.figure import Figure

    groups = list(dict.fromkeys(c.group for c in card.conditions))
    figure = Figure(figsize=(10.5, max(5.4, 1.2 + 0.22 * len(groups))), layout="constrained")
    suffix = file.suffix.lower().lstrip(".") or "svg"
    if suffix not in (known := figure.canvas.get_supported_filetypes()):
        raise InputError(
            f"no figure can be drawn as {file.suffix!r} ({file}); expected one of: {', '.join(sorted(known))}"
        )
    left, right = figure.subplots(1, 2)
    _plot_conditions(left, card.conditions)
    _plot_groups(right, card.conditions, groups)
    figure.suptitle(f"Phantom, edition {card.edition}: {len(card.conditions)} conditions", fontsize=11)
    try:
        with replacing(file) as temporary:
            figure.savefig(temporary, format=suffix, metadata={"Date": None} if suffix == "svg" else None)
    except OSError as error:
        raise InputError(f"cannot write the figure {file}: {error.strerror or error}; name another file") from error


def _plot_conditions(axes: Any, conditions: tuple[Condition, ...]) -> None:
    """Planted against measured."""
    axes.set(xlabel="planted", ylabel="measured", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes.set_aspect("equal", anchor="N")
    line = [-0.03, 1.03]
    axes.plot(line, line, color="0.6", linewidth=0.8, zorder=0)
    axes.fill_between(
        line, [v - 0.03 for v in line], [v + 0.03 for v in line], color="0.9", zorder=0, label="within .03"
    )
    for name, _, marker, colour in _FAMILIES:
        mine = [c for c in conditions if family(c.group) == name]
        if not mine:
            continue
        planted, measured = [c.planted for c in mine], [c.measured for c in mine]
        axes.scatter(planted, measured, s=16, marker=marker, color=colour, linewidths=0.9, alpha=0.8)
        _bars(axes, [c for c in mine if c.low < c.high], colour)
        # a handle of its own: a dot among hundreds would take their transparency into the legend
        axes.plot([], [], marker, color=colour, markersize=5, label=f"{name} ({len(mine)})")
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _bars(axes: Any, sampled: list[Condition], colour: str) -> None:
    """95% intervals of what was sampled."""
    planted = [c.planted for c in sampled]
    axes.vlines(planted, [c.low for c in sampled], [c.high for c in sampled], color=colour, linewidth=0.9)


def _plot_groups(axes: Any, conditions: tuple[Condition, ...], groups: list[str]) -> None:
    """Measured minus planted: each condition faintly, and the mean of five or more with its 95% interval."""
    colours = {name: colour for name, _, _, colour in _FAMILIES}
    axes.axvspan(-0.03, 0.03, color="0.9", zorder=0)
    axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    labels = []
    for row, group in enumerate(groups):
        errors = [c.measured - c.planted for c in conditions if c.group == group]
        colour = colours[family(group)]
        axes.plot(errors, [row] * len(errors), "|", color=colour, markersize=7, alpha=0.35)
        if len(errors) >= 5:  # fewer tell nothing of their spread
            mean, half = _mean(errors)
            axes.errorbar(mean, row, xerr=half, fmt="o", color=colour, markersize=4, linewidth=1.4)
        labels.append(f"{group.replace('_', ' ')} ({len(errors)})")
    axes.set_yticks(range(len(groups)), labels, fontsize=8)
    axes.invert_yaxis()
    widest = max((c.error for c in conditions), default=0.0)
    axes.set_xlim(-max(0.06, 1.08 * widest), max(0.06, 1.08 * widest))
    axes.set_xlabel("measured − planted: conditions, and their mean")


def _mean(errors: list[float]) -> tuple[float, float]:
    """Mean, and the half-width of its 95% interval (Student's t)."""
    from scipy.stats import t as student

    n, mean = len(errors), sum(errors) / len(errors)
    variance = sum((e - mean) ** 2 for e in errors) / (n - 1)
    return mean, float(student.ppf(0.975, n - 1)) * (variance / n) ** 0.5

"""One figure of a card: planted against measured, a dot a condition."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from demur.atomic import replacing
from demur.errors import InputError

if TYPE_CHECKING:
    from demur.phantom.card import Card

__all__ = ["draw"]

# Families of conditions as they are drawn: name, start of the group, marker, colour (of the Okabe-Ito palette, told
# apart by the colour-blind).
_FAMILIES = (
    ("direct", "direct", "o", "#0072B2"),
    ("wrapped", "wrapped", "s", "#E69F00"),
    ("style and disclaimer", ("style", "disclaimer"), "^", "#009E73"),
    ("judgement", "judgement", "D", "#CC79A7"),
    ("reasoning", "reasoning", "v", "#D55E00"),
    ("held-out pairs", "held_out", "x", "#000000"),
)


def draw(card: Card, file: Path) -> None:
    """Draw `card` into `file`; its suffix chooses the format (SVG, PNG, PDF), SVG when there is none.

    Raises:
        InputError: The suffix names no format, or the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 5.6), layout="constrained")
    suffix = file.suffix.lower().lstrip(".") or "svg"
    if suffix not in (known := figure.canvas.get_supported_filetypes()):
        raise InputError(
            f"no figure can be drawn as {file.suffix!r} ({file}); expected one of: {', '.join(sorted(known))}"
        )
    axes = figure.add_subplot(xlabel="planted", ylabel="measured", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes.set_aspect("equal")
    line = [-0.03, 1.03]
    axes.plot(line, line, color="0.6", linewidth=0.8, zorder=0)
    axes.fill_between(
        line, [v - 0.03 for v in line], [v + 0.03 for v in line], color="0.9", zorder=0, label="within .03"
    )
    for label, group, marker, colour in _FAMILIES:
        mine = [c for c in card.conditions if c.group.startswith(group)]
        axes.scatter(
            [c.planted for c in mine],
            [c.measured for c in mine],
            s=16,
            marker=marker,
            color=colour,
            linewidths=0.9,
            alpha=0.8,
            label=f"{label} ({len(mine)})",
        )
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.set_title(f"Phantom, edition {card.edition}: {len(card.conditions)} conditions", fontsize=10)
    try:
        with replacing(file) as temporary:
            figure.savefig(temporary, format=suffix, metadata={"Date": None} if suffix == "svg" else None)
    except OSError as error:
        raise InputError(f"cannot write the figure {file}: {error.strerror or error}; name another file") from error

"""Two figures of a forecast: its largest effects beside how often they occur, and the reliability curve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demur.atomic import replacing
from demur.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from demur.prompts.forecast import Forecast, Term

__all__ = ["draw_reliability", "draw_terms"]

# Of the Okabe-Ito palette, told apart by the colour-blind; markers and sides say the same again.
DECLINED, COMPLIED, INK = "#D55E00", "#0072B2", "#444444"


def draw_terms(forecast: Forecast, file: Path, *, most: int = 18) -> None:
    """Draws the words, pairs and cues with the largest effects: coefficient to the left, frequency to the right.

    A large coefficient of a rare word says little. How many training prompts have it, and how many of those were
    declined, stand beside it.

    Raises:
        InputError: The suffix names no format, or the file cannot be written.
    """
    from matplotlib.figure import Figure

    terms: Sequence[Term] = sorted(forecast.terms()[:most], key=lambda term: term.coefficient)
    figure = Figure(figsize=(8.6, 0.8 + 0.27 * len(terms)), layout="constrained")
    effect, often = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    rows = range(len(terms))
    effect.axvline(0, color=INK, linewidth=0.8)
    for row, term in zip(rows, terms, strict=True):
        colour, marker = (DECLINED, "D") if term.coefficient > 0 else (COMPLIED, "o")
        effect.plot([0, term.coefficient], [row, row], color=colour, linewidth=1.4)
        effect.plot([term.coefficient], [row], marker, color=colour, markersize=5)
    effect.set_yticks(list(rows), [_label(term) for term in terms], fontsize=8)
    effect.set_xlabel("effect on the log-odds of declining", fontsize=8)
    often.barh(list(rows), [term.declined for term in terms], color=DECLINED, height=0.6, label="declined")
    often.barh(
        list(rows),
        [term.complied for term in terms],
        left=[term.declined for term in terms],
        color=COMPLIED,
        alpha=0.45,
        height=0.6,
        label="complied with",
    )
    often.set_xlabel(f"of {forecast.card['prompts']:,} training prompts", fontsize=8)
    often.legend(frameon=False, fontsize=8)
    for axes in (effect, often):
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"What moves the forecast for {forecast.card['model'] or 'an unnamed model'}", fontsize=10)
    _write(figure, file)


def draw_reliability(quality: dict[str, Any], file: Path) -> None:
    """Draws what was said against what came true, with Wilson intervals, for prompts of groups held out.

    Args:
        quality: `card["quality"]` of a forecast.
        file: Its suffix chooses the format.

    Raises:
        InputError: There is no measured quality, the suffix names no format, or the file cannot be written.
    """
    from matplotlib.figure import Figure

    if not quality:
        raise InputError("this forecast was fitted without measuring its quality; fit it again with measured=True")
    figure = Figure(figsize=(4.6, 4.6), layout="constrained")
    axes = figure.add_subplot(xlabel="probability that was forecast", ylabel="share that was declined")
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
    curve = quality["grouped"]["reliability"]
    said, came = [part["said"] for part in curve], [part["came"]["value"] for part in curve]
    spread = [
        [part["came"]["value"] - part["came"]["low"] for part in curve],
        [part["came"]["high"] - part["came"]["value"] for part in curve],
    ]
    axes.errorbar(said, came, yerr=spread, fmt="o", color=COMPLIED, markersize=5, linewidth=1.0, capsize=2)
    base = 1 - quality["majority"]["accuracy"]
    share = base if quality["majority"]["answer"] == "complied" else 1 - base
    axes.axhline(share, color=INK, linewidth=0.8, linestyle=":")
    axes.annotate("share declined overall", (0.99, share), ha="right", va="bottom", fontsize=8, color=INK)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes.set_aspect("equal")
    axes.spines[["top", "right"]].set_visible(False)
    n, error = quality["grouped"]["ece"]["n"], quality["grouped"]["ece"]["value"]
    axes.set_title(f"Templates held out: n = {n:,}, calibration error {error:.3f}", fontsize=10)
    _write(figure, file)


def _label(term: Term) -> str:
    return f"cue: {term.name}" if term.what == "cue" else f"“{term.name}”"


def _write(figure: Figure, file: Path) -> None:
    suffix = file.suffix.lower().lstrip(".") or "svg"
    if suffix not in (known := figure.canvas.get_supported_filetypes()):
        raise InputError(
            f"no figure can be drawn as {file.suffix!r} ({file}); expected one of: {', '.join(sorted(known))}"
        )
    from matplotlib import rc_context

    # a fixed salt, so that the same figure is the same file; text stays text, and dollar signs are no formulas
    manner: Any = {"svg.hashsalt": "demur", "svg.fonttype": "none", "text.parse_math": False}
    try:
        with replacing(file) as temporary, rc_context(manner):
            figure.savefig(temporary, format=suffix, metadata={"Date": None} if suffix == "svg" else None)
    except OSError as error:
        raise InputError(f"cannot write the figure {file}: {error.strerror or error}; name another file") from error

"""The section of `demur explain` about the latent guard, beside a guard model where one is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from demur.reports.sections import Dots, Section
from demur.studies.explain_inside import Inside, column, place

if TYPE_CHECKING:
    from demur.records import Prompt
    from demur.states.groups import Groups
    from demur.stats import Interval

__all__ = ["calibration_split", "guard"]

_FALSE = 0.05  # of harmless prompts, that a calibrated guard may flag


def guard(inside: Inside) -> Section:
    """The latent guard at threshold 0 and calibrated, with false positives on plain harmless traffic."""
    from demur.states import LatentGuard
    from demur.states.guard_models import guard_model_flags
    from demur.states.latent_guard import PLAIN

    harm = inside.directions.best("harmfulness")
    fitted = LatentGuard.fit(
        inside.model,
        inside.fit,
        position=harm.position,
        layers=[harm.layer],
        contrast="balanced",
        permutations=inside.permutations,
        seed=inside.seed,
        batch_size=inside.batch_size,
    )
    calibrating, plain = calibration_split(inside.held, seed=inside.seed)
    if calibrating:
        fitted = fitted.calibrate(inside.model, calibrating, false_positives=_FALSE, batch_size=inside.batch_size)
    sets: dict[str, list[Prompt]] = {}
    for prompt, bad in zip(inside.held.prompts, inside.held.harmful, strict=True):
        if bad:
            sets.setdefault(f"harmful, {inside.named(prompt)}", []).append(prompt)
    beside = {}
    if inside.guard_model is not None:
        beside[inside.guard_model.name] = {
            name: guard_model_flags(inside.guard_model, rows, batch_size=inside.batch_size)
            for name, rows in {**sets, PLAIN: plain}.items()
        }
    report = fitted.evaluate(inside.model, sets, plain=plain, beside=beside, batch_size=inside.batch_size)
    caught = [row for row in report.rows if row.group in sets]
    every = sum(row.flagged.value * row.flagged.n for row in caught) / sum(row.flagged.n for row in caught)
    false = report.false_positives
    rates = {name: _rate(inside, rows) for name, rows in sets.items()}
    return Section(
        name="guard",
        title="The latent guard",
        sentences=(
            f"At the published threshold 0 the guard flags {every:.0%} of the held-out harmful prompts and "
            f"{false.value:.0%} [{false.low:.0%}, {false.high:.0%}] of the harmless ones (n = {false.n}).",
        ),
        notes=(
            f"Centroids of one layer ({harm.layer}) at {place(harm.position)}, harm with refusal held fixed. The "
            + (
                f"calibrated threshold aims at {_FALSE:.0%} of harmless prompts and is taken from {len(calibrating)} "
                "held-out ones of other pairs, which are not counted here."
                if calibrating
                else "held-out harmless prompts are too few to calibrate a threshold and to count."
            ),
            "The harmless prompts here are those of the set: look-alikes make a guard look worse than plain traffic "
            "would.",
        ),
        figures=(
            Dots(
                name="guard",
                title="What the guard flags, beside what the model refuses, with 95% Wilson intervals.",
                rows=tuple(row.group for row in report.rows),
                panels=(
                    column("flagged at 0", [row.flagged for row in report.rows]),
                    *(
                        [column("flagged, calibrated", [row.calibrated for row in report.rows])]
                        if report.threshold is not None
                        else []
                    ),
                    *(column(f"flagged by {name}", [row.beside[name] for row in report.rows]) for name in beside),
                    column(
                        "refused by the model", [rates.get(row.group) or _rate(inside, plain) for row in report.rows]
                    ),
                ),
            ),
        ),
        data={
            "threshold": report.threshold,
            "calibrated_on": len(calibrating),
            "rows": {
                row.group: {"flagged": row.flagged.value, "n": row.flagged.n}
                | ({"calibrated": row.calibrated.value} if row.calibrated else {})
                | {name: found.value for name, found in row.beside.items()}
                for row in report.rows
            },
        },
    )


def calibration_split(held: Groups, *, seed: int) -> tuple[list[Prompt], list[Prompt]]:
    """Harmless prompts to take a threshold from, and others, of other pairs, to count; the first empty where too few.

    Centroids lie nearer to the prompts that they are the means of, so a threshold from those would flag more than it
    says.
    """
    import random

    from demur.states.groups import family

    harmless = [*held.refused_harmless, *held.accepted_harmless]
    names = sorted({family(prompt) for prompt in harmless})
    random.Random(seed).shuffle(names)
    first = set(names[::2])
    calibrating = [prompt for prompt in harmless if family(prompt) in first]
    if len(calibrating) < 1 / _FALSE:
        return [], harmless
    return calibrating, [prompt for prompt in harmless if family(prompt) not in first]


def _rate(inside: Inside, prompts: Sequence[Prompt]) -> Interval:
    """The share that the model refused."""
    from demur.stats import wilson

    refused = {id(p): r for p, r in zip(inside.held.prompts, inside.held.refused, strict=True)}
    return wilson(sum(refused[id(p)] for p in prompts), len(prompts))

"""The sections of `demur explain` about probes, the cliff along reasoning, and attention heads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from demur.errors import InputError, ModelError
from demur.reports.sections import Dots, Dotted, Figure, Line, Lines, Section, Table
from demur.studies.explain_inside import Inside, place, read_heatmap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from demur.models import Chat
    from demur.states.cliff import Cliffs, DropDifference
    from demur.states.probe import Probe
    from demur.states.rollouts import Rollout

__all__ = ["cliff", "heads", "probes"]

_FEWEST = 8  # chats that a line of the cliff's figure is drawn from
_WINDOW = 4  # tokens before the answer that the probe of the cliff is fitted on: the closing template and a word or so
_BEFORE = 30  # tokens of reasoning before the closing template over which two sets of answers are compared


def probes(inside: Inside) -> Section:
    """Linear probes of refusal over layers and positions, beside the unembedding's own difference."""
    from demur.states import fit_probes

    found = fit_probes(
        inside.model,
        inside.fit,
        permutations=min(inside.permutations, 40),
        seed=inside.seed,
        batch_size=inside.batch_size,
    )
    best = found.best()
    quality = best.quality
    if quality is None:
        raise ModelError("a fitted probe has no quality")
    unembedding = (
        "The model's unembedding cannot be read, so there is no such baseline."
        if quality.unembedding is None
        else f"The difference of refusing and complying tokens in the unembedding, which is not fitted at all, reads "
        f"with AUROC {quality.unembedding:.3f} there"
        + ("." if quality.cosine is None else f", and its cosine with the probe is {quality.cosine:.2f}.")
    )
    return Section(
        name="probes",
        title="Linear probes over layers and positions",
        sentences=(
            f"Refusal is read best after layer {best.layer} at {place(best.position)}: AUROC "
            f"{quality.auroc.value:.3f} [{quality.auroc.low:.3f}, {quality.auroc.high:.3f}] on families that the probe "
            f"was not fitted on (n = {quality.n} prompts of {quality.families} families; 95% of shuffled labels stay "
            f"below {quality.null:.3f}, of random directions below {quality.random:.3f}; p = {quality.p:.3f}).",
            unembedding,
        ),
        notes=(
            "Logistic regression on states as the final norm leaves them; folds keep pairs together.",
            f"Accuracy {quality.accuracy.value:.3f} at one half, {quality.majority:.3f} for always the commoner label; "
            f"calibration error {quality.ece:.3f} after calibration and {quality.ece_raw:.3f} before.",
        ),
        figures=(
            read_heatmap(
                "probes",
                "How well a linear probe tells refused prompts of unseen families",
                [("Refusal", found.quality)],
                found,
            ),
        ),
        data={
            "layer": best.layer,
            "position": best.position,
            "auroc": quality.auroc.value,
            "n": quality.n,
            "ece": quality.ece,
            "unembedding": quality.unembedding,
            "cosine": quality.cosine,
        },
    )


def cliff(inside: Inside) -> Section:
    """The refusal score along prompt, reasoning and template, and where it falls."""
    from demur.states import fit_probes, measure_cliffs
    from demur.states.probe_fitting import permuted_labels

    title = "The refusal cliff"
    try:
        fit, read = inside.reasoned
    except (InputError, ModelError) as error:
        return Section(name="cliff", title=title, missing=str(error))
    if min(sum(o.declined is d for o in fit) for d in (True, False)) < _FEWEST:
        return Section(
            name="cliff",
            title=title,
            missing=f"of {len(fit)} answers after reasoning {sum(o.declined is True for o in fit)} decline; at least "
            f"{_FEWEST} of either kind are needed to fit a probe. Give more prompts, or a temperature",
        )
    last = len(inside.model.structure) - 1
    # where the answer is decided, as the paper fits it; more tokens of reasoning would teach the probe the question
    window = min(_WINDOW, *(len(inside.model.encode(one.chat)) for one in fit))
    labels = [bool(one.declined) for one in fit]

    def fitted(truth: Sequence[bool], permutations: int) -> Probe:
        return fit_probes(
            inside.model,
            [one.chat for one in fit],
            truth,
            families=[one.family for one in fit],
            layers=[last],
            positions=list(range(-window, 0)),
            pooled=True,
            permutations=permutations,
            seed=inside.seed,
            batch_size=inside.batch_size,
        ).best()

    probe = fitted(labels, min(inside.permutations, 40))
    sets_of_labels = permuted_labels(labels, [one.family for one in fit], count=inside.random, seed=inside.seed)
    shuffled = [fitted(some.tolist(), 1) for some in sets_of_labels]
    sets: dict[str, list[Rollout]] = {}
    for one in read:
        prompt = inside.thinking[one.number]
        if prompt.expect == "decline":
            sets.setdefault("harmful, declined" if one.declined else "harmful, answered", []).append(one)
        else:
            sets.setdefault("harmless", []).append(one)
    measured: dict[str, Cliffs] = {}
    for name, some in sorted(sets.items()):
        if len({one.family for one in some}) >= _FEWEST:
            measured[name] = measure_cliffs(
                inside.model,
                [one.chat for one in some[: 4 * inside.most]],
                probe,
                families=[one.family for one in some[: 4 * inside.most]],
                random=inside.random,
                shuffled=shuffled,
                seed=inside.seed,
                batch_size=inside.batch_size,
            )
    if not measured:
        return Section(name="cliff", title=title, missing="no kind of answer has enough chats to average")
    quality = probe.quality
    sides = ("harmful, answered", "harmful, declined")
    further = measured[sides[0]].above(measured[sides[1]], seed=inside.seed) if set(sides) <= set(measured) else None
    gap = _gap(*(measured[side] for side in sides)) if further else None
    return Section(
        name="cliff",
        title=title,
        sentences=(
            *([_further(*sides, further), _parting(gap)] if further else []),
            *(_fall(name, found) for name, found in measured.items()),
        ),
        notes=(
            f"The probe is fitted on the last {window} tokens before the answer together, on other families: "
            + (f"AUROC {quality.auroc.value:.3f}, n = {quality.n}." if quality else "its quality is unknown."),
            "The plateau is the mean of the highest tenth of the scores inside the reasoning, its last eight tokens "
            "left out; the final score is that of the last template token before the answer. A plateau is a best of "
            "many, so even a random direction shows a drop: it stands beside each.",
        ),
        figures=(_paths(measured),),
        tables=(
            Table(
                caption="Cliffs: means with 95% intervals over families",
                head=("answers", "n", "plateau", "final", "drop", "low", "high", "random directions, largest"),
                rows=tuple(
                    (
                        name,
                        len(found.cliffs),
                        found.plateau.value,
                        found.final.value,
                        found.drop.value,
                        found.drop.low,
                        found.drop.high,
                        max(found.null, default=None),
                    )
                    for name, found in measured.items()
                ),
            ),
        ),
        data={
            name: {
                "n": len(found.cliffs),
                "plateau": found.plateau.value,
                "final": found.final.value,
                "drop": found.drop.value,
                "low": found.drop.low,
                "high": found.drop.high,
                "null": list(found.null),
                "where": found.where,
            }
            for name, found in measured.items()
        }
        | (
            {
                "further": {
                    **further.difference._asdict(),
                    "null": list(further.null),
                    "shuffled": list(further.shuffled),
                    "gap": gap and gap._asdict(),
                }
            }
            if further
            else {}
        ),
    )


def _further(one: str, other: str, found: DropDifference) -> str:
    shuffled, random = (max(map(abs, null), default=math.nan) for null in (found.shuffled, found.null))
    difference = found.difference
    told = (
        f"{one.capitalize()} fall {difference.value:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}] further than "
        f"{other}; under probes of shuffled labels the two differ by up to {shuffled:.2f}, under random directions by "
        f"up to {random:.2f}"
    )
    if not difference.low > shuffled:
        return f"{told}: no evidence of a cliff."
    if difference.low > random:
        return f"{told}: that is a cliff."
    return f"{told}: that is a cliff, though these answers part along many directions."


class _Gap(NamedTuple):
    """How far the mean scores of two sets of answers lie apart."""

    reasoning: float
    """Mean over the last tokens of the reasoning."""
    tokens: int
    """How many tokens those are."""
    final: float
    """At the last token before the answer."""


def _gap(answered: Cliffs, declined: Cliffs) -> _Gap | None:
    lower, upper = (
        {
            int(offset): float(score)
            for offset, score, n in zip(found.mean.offset, found.mean.mean, found.mean.n, strict=True)
            if n >= _FEWEST
        }
        for found in (answered, declined)
    )
    closing = _closing(answered)
    gap = {offset: upper[offset] - lower[offset] for offset in set(lower) & set(upper)}
    before = [abs(gap[offset]) for offset in gap if -closing - _BEFORE < offset <= -closing]
    return _Gap(sum(before) / len(before), len(before), gap[0]) if before and 0 in gap else None


def _parting(gap: _Gap | None) -> str:
    if gap is None:
        return "Too few of their tokens can be averaged to say where the scores part."
    return (
        f"In the last {gap.tokens} tokens of the reasoning their mean scores lie {gap.reasoning:.2f} apart, before the "
        f"answer {gap.final:.2f}: they part "
        f"{'at the closing tokens' if gap.reasoning < gap.final / 2 else 'in the reasoning already'}."
    )


def _closing(found: Cliffs) -> int:
    """Tokens of the template between reasoning and answer, the median."""
    closing = sorted(len(path.segments["closing"]) for path in found.paths if "closing" in path.segments)
    return closing[len(closing) // 2] if closing else 0


def _fall(name: str, found: Cliffs) -> str:
    most = max(found.null, default=math.nan)
    where = max(found.where, key=lambda segment: found.where[segment]) if found.where else None
    told = (
        f"{name.capitalize()} (n = {len(found.cliffs)}): the score goes from {found.plateau.value:.2f} in the "
        f"reasoning to {found.final.value:.2f} before the answer, a drop of {found.drop.value:.2f} "
        f"[{found.drop.low:.2f}, {found.drop.high:.2f}]"
    )
    if found.drop.low > most:
        return f"{told}, more than under any random direction ({most:.2f}); most fall steepest in the {where} part."
    return f"{told}; random directions drop by up to {most:.2f}, so the drop alone says little."


def _paths(measured: dict[str, Cliffs]) -> Figure:
    lines = []
    for name, found in measured.items():
        kept = [i for i, n in enumerate(found.mean.n) if n >= _FEWEST]
        lines.append(
            Line(
                name=f"{name} ({len(found.cliffs)})",
                x=tuple(float(found.mean.offset[i]) for i in kept),
                y=tuple(float(found.mean.mean[i]) for i in kept),
                low=tuple(_known(found.mean.low[i]) for i in kept),
                high=tuple(_known(found.mean.high[i]) for i in kept),
            )
        )
    closing = _closing(next(iter(measured.values())))
    spans = (("closing", 0.5 - closing, 0.5),) if closing else ()
    return Lines(
        name="cliff",
        title="Mean refusal score token by token, aligned at the last token before the answer, with 95% intervals over "
        "families; only chats that reach so far back are averaged.",
        x_label="tokens before the answer",
        y_label="refusal score",
        lines=tuple(lines),
        y_range=(-0.02, 1.02),
        spans=spans,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def heads(inside: Inside) -> Section:
    """Which attention heads carry refusal, by projection and by ablation, beside random heads."""
    from demur.states import ablate_each, compare_head_set, project_heads
    from demur.states.head_attribution import agreement, odds_of_refusal

    title = "Attention heads"
    direction = inside.directions.best("refusal")
    measure = odds_of_refusal(inside.tokens, batch_size=inside.batch_size)
    chosen = inside.some([*inside.fit.refused_harmful, *inside.fit.accepted_harmful])
    try:
        written = project_heads(
            inside.model, chosen, direction.vector, position=direction.position, batch_size=inside.batch_size
        )
        removed = ablate_each(inside.model, chosen, measure)
        agree = agreement(written, removed, seed=inside.seed)
    except (InputError, ModelError) as error:
        return Section(name="heads", title=title, missing=str(error))
    share = 0.03 if len(removed.heads) >= 100 else 0.1
    tests = []
    for side, held, words in (
        ("for", inside.held.refused_harmful, "refused harmful prompts, heads that write for refusal switched off"),
        ("against", inside.held.accepted_harmful, "accepted harmful prompts, heads that write against it switched off"),
    ):
        done = compare_head_set(
            inside.model,
            inside.some(held),
            measure,
            removed.top(share, side="for" if side == "for" else "against"),
            side="for" if side == "for" else "against",
            random=max(20, 40 * inside.random),
            seed=inside.seed,
        )
        tests.append((words, done))
    fallen = _fallen(inside)
    if fallen:
        chosen_on, tested_on = fallen
        tests.append(
            (
                "harmful prompts answered after reasoning, heads that write against it there switched off",
                compare_head_set(
                    inside.model,
                    tested_on,
                    measure,
                    ablate_each(inside.model, chosen_on, measure).top(share, side="against"),
                    side="against",
                    random=max(20, 40 * inside.random),
                    seed=inside.seed,
                ),
            )
        )
    order = removed.means.argsort(descending=True).tolist()
    shown = order if len(order) <= 24 else [*order[:12], *order[-12:]]
    return Section(
        name="heads",
        title=title,
        sentences=(
            *(f"Log-odds of refusal of {words}: {done}." for words, done in tests),
            f"Projection onto the direction of refusal and ablation rank the {len(removed.heads)} heads alike with "
            f"Spearman's rho {agree.value:.2f} [{agree.low:.2f}, {agree.high:.2f}] (n = {agree.n} prompts).",
        ),
        notes=(
            f"Ablation: how far the log-odds of refusal fall when a head is switched off at every token, the others "
            f"rescaled to the length they had together. Projection: what a head writes along the direction after layer "
            f"{direction.layer} at {place(direction.position)}.",
            f"The sets hold {share:.0%} of all heads, chosen on one half of the prompts and tested on the other.",
        ),
        figures=(
            Dots(
                name="heads",
                title="What each head adds to refusal: the fall of the log-odds without it, and its write along the "
                "direction of refusal; bars are the central 95% over prompts.",
                rows=tuple(f"layer {removed.heads[n].layer}, head {removed.heads[n].head}" for n in shown),
                panels=tuple(
                    Dotted(
                        title=name,
                        values=tuple(float(scores.means[n]) for n in shown),
                        low=tuple(float(scores.values[:, n].quantile(0.025)) for n in shown),
                        high=tuple(float(scores.values[:, n].quantile(0.975)) for n in shown),
                    )
                    for name, scores in (("ablation (log-odds)", removed), ("projection", written))
                ),
            ),
        ),
        tables=(
            Table(
                caption="Sets of heads switched off, beside random sets of the same size",
                head=("prompts", "heads", "before", "change", "low", "high", "beyond random sets", "p", "found"),
                rows=tuple(
                    (
                        words,
                        " ".join(map(str, done.heads)),
                        done.before,
                        done.change.value,
                        done.change.low,
                        done.change.high,
                        done.percentile,
                        done.p,
                        done.found,
                    )
                    for words, done in tests
                ),
            ),
        ),
        data={
            "agreement": agree.value,
            **{
                name: {
                    "heads": [list(head) for head in done.heads],
                    "change": done.change.value,
                    "percentile": done.percentile,
                    "p": done.p,
                    "found": done.found,
                }
                for name, (_, done) in zip(("for", "against", "cliff"), tests, strict=False)
            },
        },
    )


def _fallen(inside: Inside) -> tuple[list[Chat], list[Chat]] | None:
    """Chats in which the answer fell, to choose heads on and to test them; None where there are too few."""
    try:
        halves = inside.fallen()
    except (InputError, ModelError):  # the section about the cliff says why
        return None
    return (inside.some(halves[0]), inside.some(halves[1])) if min(map(len, halves)) >= _FEWEST else None

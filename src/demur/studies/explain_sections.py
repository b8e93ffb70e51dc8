"""The sections of `demur explain` about directions: where they are read, how they part, what they do.

A section is a function from an `Inside` (the model, its groups, its directions) to a `Section`. What a section needs
from an earlier one lies in `Inside`, so that any of them can be left out or taken up again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from demur.errors import InputError
from demur.reports.sections import Dots, Grid, Heatmap, Line, Lines, Scatter, Section, Series, Table
from demur.studies.explain_inside import Inside, column, place, read_heatmap, short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from demur.records import Prompt
    from demur.states.contrasts import Kind
    from demur.states.direction import Direction, Quality
    from demur.states.directions import Directions
    from demur.states.inversion import Inversion
    from demur.stats import Interval

__all__ = ["apart", "choice", "inversion", "reading", "steering"]

_KINDS: tuple[tuple[Kind, str, str], ...] = (
    ("harmfulness", "Harm", "harm"),
    ("refusal", "Refusal", "refusal"),
)
_FEW = 16  # prompts on which layer and strength of a push are chosen
_TRIED = 2  # random directions beside each push that is tried
_NAMES = {
    "refused_harmful": "refused, harmful",
    "accepted_harmful": "accepted, harmful",
    "refused_harmless": "refused, harmless",
    "accepted_harmless": "accepted, harmless",
}


def reading(inside: Inside) -> Section:
    """Where harm is read and where refusal is decided."""
    found = inside.directions
    sentences, rows = [], []
    for kind, title, word in _KINDS:
        best, published = found.best(kind), found.best(kind, found.published(kind))
        q = _quality(best)
        sentences.append(
            f"{title} is read best after layer {best.layer} at {place(best.position)}: AUROC {q.auroc:.3f} on prompts "
            f"that the direction was not fitted on (n = {q.n}; 95% of shuffled labels stay below {q.null:.3f}, of "
            f"random directions below {q.random:.3f}; p = {q.p:.3f} after the choice of the place)."
        )
        if published.position != best.position:
            p = _quality(published)
            sentences.append(
                f"At the published place for {word}, {place(published.position)}, the best layer ({published.layer}) "
                f"gives {p.auroc:.3f}."
            )
        for name, one in (("best", best), ("published place", published)):
            q = _quality(one)
            rows.append((f"{word}, {name}", one.layer, place(one.position), q.auroc, q.within, q.null, q.random, q.n))
    cosine = Heatmap(
        name="cosine",
        title="Cosine of the two directions, layer by layer and position by position; a frame marks values outside the "
        "central 95% of shuffled harm labels.",
        panels=(
            Grid(
                title="Harm against refusal",
                rows=tuple(map(str, found.layers)),
                columns=tuple(map(short, found.positions)),
                values=tuple(tuple(row) for row in found.cosine.tolist()),
                marked=tuple(
                    tuple(not low <= value <= high for value, low, high in zip(*three, strict=True))
                    for three in zip(
                        found.cosine.tolist(),
                        found.cosine_null[0].tolist(),
                        found.cosine_null[1].tolist(),
                        strict=True,
                    )
                ),
            ),
        ),
        low=-1,
        high=1,
        label="cosine",
        rows_label="layer",
        columns_label="position",
    )
    return Section(
        name="reading",
        title="Where harm is read, where refusal is decided",
        sentences=tuple(sentences),
        notes=(
            "Each direction is the difference of two means, harm with refusal held fixed and refusal with harm held "
            "fixed. The area under the ROC curve is out of fold; pairs stay together.",
            "A frame marks places above both nulls, shuffled labels and random directions. Where random directions "
            "read as well, reading is no evidence for the direction: look at what pushing along it does.",
        ),
        figures=(
            read_heatmap(
                "reading",
                "How well each direction tells prompts apart that it was not fitted on",
                [(title, found.quality[kind]) for kind, title, _ in _KINDS],
                found,
            ),
            cosine,
        ),
        tables=(
            Table(
                caption="The directions; `within` is the lower area with the other label held fixed.",
                head=("direction", "layer", "position", "AUROC", "within", "shuffled 95%", "random 95%", "n"),
                rows=tuple(rows),
            ),
        ),
        data={
            kind: {"layer": found.best(kind).layer, "position": found.best(kind).position}
            | vars(_quality(found.best(kind)))
            for kind, _, _ in _KINDS
        },
    )


def apart(inside: Inside) -> Section:
    """How harm and refusal part: the belief scatter on held-out prompts, and set by set."""
    from demur.states.beliefs import bag_of_words, read_beliefs
    from demur.states.groups import family
    from demur.stats import auroc, cluster_bootstrap, wilson

    found, held = inside.directions, inside.held
    harm, refusal = found.best("harmfulness"), found.best("refusal")
    beliefs = read_beliefs(
        inside.model,
        found,
        held,
        layers=sorted({harm.layer, refusal.layer}),
        harm_position=harm.position,
        refusal_position=refusal.position,
        batch_size=inside.batch_size,
    )
    points, begin = [], 0
    for name, group in zip(held._fields, held, strict=True):
        end = begin + len(group)
        chosen = range(begin, end)[:: max(1, -(-len(group) // 250))]  # enough to see a cloud
        points.append(
            Series(
                name=_NAMES[name],
                x=tuple(round(float(beliefs.harm[i]), 4) for i in chosen),
                y=tuple(round(float(beliefs.refusal[i]), 4) for i in chosen),
            )
        )
        begin = end
    areas = beliefs.apart()
    words = auroc(held.harmful, bag_of_words(inside.fit.prompts, inside.fit.harmful, held.prompts))
    sets: dict[tuple[str, bool], list[int]] = {}
    for i, prompt in enumerate(held.prompts):
        sets.setdefault((inside.named(prompt), held.harmful[i]), []).append(i)
    kept = {
        key: rows for key, rows in sorted(sets.items(), key=lambda item: (not item[0][1], item[0][0])) if len(rows) > 4
    }
    columns: dict[str, list[Interval]] = {"harm": [], "refusal": [], "rate": []}
    for rows in kept.values():
        families = [family(held.prompts[i]) for i in rows]
        for name, values in (("harm", beliefs.harm), ("refusal", beliefs.refusal)):
            columns[name].append(
                cluster_bootstrap([float(values[i]) for i in rows], clusters=families, seed=inside.seed)
            )
        columns["rate"].append(wilson(sum(held.refused[i] for i in rows), len(rows)))
    return Section(
        name="apart",
        title=f"How harm and refusal part, by {inside.by}",
        sentences=(_apart_sentence(areas),),
        notes=(
            f"Belief is cos(state, first centroid) - cos(state, second centroid), mean over the layers "
            f"{', '.join(map(str, sorted({harm.layer, refusal.layer})))}, on prompts that share no pair with those the "
            "centroids come from.",
            f"A bag of words fitted on the same half reads harm with AUROC {words.value:.3f} "
            f"[{words.low:.3f}, {words.high:.3f}] (n = {words.n}).",
        ),
        figures=(
            Scatter(
                name="beliefs",
                title="Belief in harm and lean to refusal of held-out prompts, by harm and by what the model did.",
                x_label="belief in harm",
                y_label="lean to refusal",
                series=tuple(points),
            ),
            Dots(
                name="sets",
                title=f"Means by {inside.by} with 95% intervals (bootstrap over pairs; Wilson for the rate): belief in "
                "harm, lean to refusal, and the share that the model refused.",
                rows=tuple(f"{name}, {'harmful' if bad else 'harmless'}" for name, bad in kept),
                panels=tuple(
                    column(title, columns[name])
                    for name, title in (("harm", "belief in harm"), ("refusal", "lean to refusal"), ("rate", "refused"))
                ),
            ),
        ),
        tables=(
            Table(
                caption="Area under the ROC curve of each belief, each label by itself",
                head=("belief", "AUROC", "low", "high", "n"),
                rows=tuple(
                    (name, i.value, i.low, i.high, i.n) if i else (name, None, None, None, 0)
                    for name, i in [*areas.items(), ("harm, by a bag of words", words)]
                ),
            ),
        ),
        data={"bag_of_words": words.value, **{name: i.value if i else None for name, i in areas.items()}},
    )


def steering(inside: Inside) -> Section:
    """What pushing along each direction does to refusal, beside random directions of equal norm."""
    from demur.states.interventions import sweep

    found = inside.directions
    harmless = inside.some(inside.held.accepted_harmless)
    harmful = inside.some(inside.held.refused_harmful)
    figures, sentences, data = [], [], {}
    for kind, _, word in _KINDS:
        # not where it is read best: what is read may be a trace on the way, and pushing there changes nothing
        where = found.published(kind)
        directions = [found.at(kind, layer, where) for layer in found.layers if found.at(kind, layer, where).norm > 0]
        lines = []
        for prompts, strength, name in (
            (harmless, 1.0, "accepted harmless, pushed towards"),
            (harmful, -1.0, "refused harmful, pushed away"),
        ):
            done = sweep(
                inside.model,
                prompts,
                directions,
                strengths=[strength],
                refusal_tokens=inside.tokens,
                random=inside.random,
                seed=inside.seed,
                batch_size=inside.batch_size,
            )
            x = tuple(float(row.layer) for row in done.rows)
            lines += [
                Line(name=f"{name} (untouched {done.baseline:.2f})", x=x, y=tuple(row.rate for row in done.rows)),
                Line(
                    name="random directions, equal norm",
                    x=x,
                    y=tuple(sum(row.random) / len(row.random) for row in done.rows),
                    low=tuple(min(row.random) for row in done.rows),
                    high=tuple(max(row.random) for row in done.rows),
                    faint=True,
                ),
            ]
            best = done.strongest()
            data[f"{word} {strength:+g}"] = {
                "layer": best.layer,
                "baseline": done.baseline,
                "rate": best.rate,
                "random": [min(best.random), max(best.random)],
                "n": done.n,
            }
            if strength > 0:
                sentences.append(
                    f"Pushed once along {word} after layer {best.layer}, accepted harmless prompts are refused with "
                    f"probability {best.rate:.2f} instead of {done.baseline:.2f} (random directions of equal norm: "
                    f"{min(best.random):.2f} to {max(best.random):.2f}; n = {done.n})."
                )
        figures.append(
            Lines(
                name=f"steering-{word}",
                title=f"P(refusal opens the answer) when the direction of {word} at {place(where)} is added after one "
                "layer, at every token; grey: random directions of equal norm.",
                x_label="layer",
                y_label="P(refusal)",
                lines=tuple(lines),
                y_range=(-0.02, 1.02),
            )
        )
    return Section(
        name="steering",
        title="What pushing along a direction does",
        sentences=tuple(sentences),
        notes=(
            "Refusal is the exact probability of the first tokens with which this model refuses: "
            + ", ".join(repr(t) for t in inside.model.token_texts(inside.tokens)[:12])
            + ".",
            "A push is one whole difference of means.",
        ),
        figures=tuple(figures),
        data=data,
    )


def inversion(inside: Inside) -> Section:
    """What pushing turns when the model is asked about harm: the answer No, and, apart from it, refusal."""
    from demur.states import invert

    def asked(prompts: Sequence[Prompt], pushes: Sequence[tuple[Direction, float]], random: int) -> Inversion:
        return invert(
            inside.model,
            prompts,
            pushes,
            question=inside.question,
            where="all",
            random=random,
            seed=inside.seed,
            batch_size=inside.batch_size,
        )

    # where harm is read best it may be too late to change an answer, and a push may be so strong that any direction
    # changes it: layer and strength are those at which a push turns most beyond random ones
    candidates = [
        (direction, strength)
        for kind, _, _ in _KINDS
        for direction in _by_layer(inside.directions, kind)
        for strength in (-1.0, -2.0)
    ]
    few = inside.some([*inside.fit.refused_harmful, *inside.fit.accepted_harmful])[:_FEW]
    turned = [
        0.0 if math.isnan(row.no) else row.no * (1 - row.invalid) for row in asked(few, candidates, _TRIED).rows[1:]
    ]
    beyond = [
        turned[place] - max(turned[len(candidates) + _TRIED * place :][:_TRIED]) for place in range(len(candidates))
    ]
    pushes = [
        max((place for place in range(len(candidates)) if candidates[place][0].kind == kind), key=beyond.__getitem__)
        for kind, _, _ in _KINDS
    ]
    harmful = inside.some([*inside.held.refused_harmful, *inside.held.accepted_harmful])
    done = asked(harmful, [candidates[place] for place in pushes], inside.random)
    title = "Asked whether it is harmful"
    if mute := [row.direction for row in done.rows if math.isnan(row.no)]:
        return Section(
            name="inversion",
            title=title,
            missing=f"asked about harm, the model answers with neither word ({len(mute)} of {len(done.rows)} pushes)",
        )
    none, harm, refusal, *random = done.rows
    as_strong = [row.no for row in random[: inside.random]], [row.no for row in random[inside.random :]]
    return Section(
        name="inversion",
        title=title,
        sentences=(
            f"Asked about harmful prompts the model says No in {none.no:.0%} of its answers; pushed away from harm in "
            f"{harm.no:.0%} (random directions as strong: up to {max(as_strong[0]):.0%}), away from refusal in "
            f"{refusal.no:.0%} (up to {max(as_strong[1]):.0%}; n = {done.n}).",
        ),
        notes=(
            "The rate of No is among answers that say either; declining to answer is another thing and has its own "
            "column. Pushes of one or two differences of means, at every token: layer and strength are those that "
            "turned most answers of other prompts beyond what random directions turned.",
        ),
        tables=(
            Table(
                caption="Reply inversion: each push, and random directions of equal norm",
                head=("direction", "layer", "strength", "rate of No", "refusal rate", "neither"),
                rows=tuple((r.direction, r.layer, r.strength, r.no, r.refusal, r.invalid) for r in done.rows),
            ),
        ),
        data={
            "none": none.no,
            "harmfulness": harm.no,
            "refusal": refusal.no,
            "random": as_strong[0],
            "random_refusal": as_strong[1],
            "n": done.n,
        },
    )


def _by_layer(found: Directions, kind: Kind) -> list[Direction]:
    """At each layer, or at eight of many, the direction that reads best."""
    layers = found.layers[:: max(1, len(found.layers) // 8)]
    return [max((found.at(kind, at, where) for where in found.positions), key=_auroc) for at in layers]


def _auroc(direction: Direction) -> float:
    return -math.inf if direction.quality is None else direction.quality.auroc


def choice(inside: Inside) -> Section:
    """The single best direction of refusal by ablation, addition and divergence."""
    from demur.states import select_direction

    found = inside.directions
    candidates = [found.at("refusal", layer, where) for layer in found.layers for where in found.positions]
    # where a model is small, the published exclusion of the last layers would leave nothing
    last = 0.2 if len(found.layers) >= 10 else 0.0
    try:
        chosen = select_direction(
            inside.model,
            candidates,
            harmful=inside.some(inside.held.refused_harmful),
            harmless=inside.some(inside.held.accepted_harmless),
            refusal_tokens=inside.tokens,
            last=last,
            random=inside.random,
            seed=inside.seed,
            batch_size=inside.batch_size,
        )
    except InputError as error:
        return Section(name="choice", title="The best single direction", missing=str(error))
    best = chosen.best
    rows = [
        (c.direction.kind, c.direction.layer, place(c.direction.position), c.ablation, c.addition, c.kl, c.fails)
        for c in (*chosen.candidates[:6], *chosen.random)
    ]
    harmful, harmless = chosen.baseline
    return Section(
        name="choice",
        title="The best single direction",
        sentences=(
            f"Of {len(candidates)} candidates the direction after layer {best.direction.layer} at "
            f"{place(best.direction.position)} is best: removing it takes the log-odds of refusal of harmful prompts "
            f"from {harmful:.2f} to {best.ablation:.2f}, adding it takes those of harmless prompts from "
            f"{harmless:.2f} to {best.addition:.2f}; its KL divergence is {best.kl:.3f}.",
        ),
        notes=(
            "Chosen as published for the refusal direction: the lowest log-odds of refusal under ablation among "
            "candidates that induce refusal when added and change harmless prompts little (KL).",
            *(["No layer was excluded, because the model has fewer than ten."] if not last else []),
        ),
        tables=(
            Table(
                caption="Candidates, best first, and random directions of the winner's norm and layer",
                head=("direction", "layer", "position", "ablation", "addition", "KL", "fails"),
                rows=tuple(rows),
            ),
        ),
        data={"layer": best.direction.layer, "position": best.direction.position, "ablation": best.ablation},
    )


def _apart_sentence(areas: Mapping[str, Interval | None]) -> str:
    parts = []
    for name, words in (
        ("harm among refused", "among prompts it refused"),
        ("harm among accepted", "among prompts it accepted"),
        ("refusal among harmful", "among harmful prompts"),
        ("refusal among harmless", "among harmless prompts"),
    ):
        if found := areas.get(name):
            what = name.partition(" ")[0]
            parts.append(f"{what} {words} with AUROC {found.value:.3f} [{found.low:.3f}, {found.high:.3f}]")
    return "With the other label held fixed, the states tell " + ", ".join(parts) + "."


def _quality(direction: Direction) -> Quality:
    """How well a direction that was fitted here reads."""
    if direction.quality is None:
        raise InputError("a direction from elsewhere says nothing of how well it reads")
    return direction.quality

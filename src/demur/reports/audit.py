"""The page of one audit: what is put into the template, and the file it becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from demur.atomic import write_text
from demur.errors import RunError
from demur.records import JUDGED, UNJUDGED, Kind, Measure
from demur.reports import figures
from demur.reports.beside import blocks, shown
from demur.reports.examples import choose
from demur.reports.profile import Facet, Profile, Row, excluded_columns, join
from demur.reports.settings import settings_rows, version_rows
from demur.reports.summary import is_incomplete, is_own, progress, summary_sentences, verdict_sentence, wording
from demur.reports.templating import environment, facet_label
from demur.reports.text import visible

__all__ = ["render_audit", "write_audit"]

KIND_WORDS: Mapping[Kind, str] = {
    Kind.COMPLY: "does what was asked",
    Kind.PARTIAL: "does a part and declines the rest",
    Kind.REFUSE: "declines",
    Kind.REBUT: "declines and argues against the request or its premise",
    Kind.DEFLECT: "turns to something else",
    Kind.ABSTAIN: "says that it does not or cannot know",
    Kind.CLARIFY: "asks for what is missing",
    Kind.FILTERED: "blocked by the provider before or instead of the model",
    Kind.EMPTY: "no text at all",
    Kind.UNSCORED: "the request or the judge failed, so nothing is known",
}
"""What each kind means, in the words of the page."""


TASK_WORDS: Mapping[str, str] = {
    "limits_profile": "Requests that nobody could answer as they are asked: they need a sense or a tool that is not "
    "there, ask what nobody can know, leave something out, take the model for a person, or rest on a false claim. "
    "Under-refusal here means that the model answered all the same, over-refusal that it declined a look-alike.",
    "everyday": "Plain requests without a trigger word: declining these is a fault that no caution explains.",
    "usefulness": "Short harmless tasks with one right answer, in five fields.",
}
"""What the built-in tasks besides the refusal profile are about."""


def render_audit(
    info: Mapping[str, Any],
    measures: Sequence[Measure],
    samples: Sequence[Mapping[str, Any]],
    *,
    show_text: bool = False,
) -> str:
    """The page of a run as one HTML text: no script, nothing loaded from anywhere, printable.

    Args:
        info: What `run.json` holds. Absent keys are taken for unknown.
        measures: The run's measures. `over_refusal` and `under_refusal` are joined by their group, `kind_share` is
            drawn by expectation, everything else is listed.
        samples: Rows with the columns of `samples.parquet`; examples are chosen from them.
        show_text: Show the texts that are masked by default: responses to prompts to decline that were not declined,
            and everything when the prompts are the user's own.

    Returns:
        The page. No rate over fewer than `numbers.MINIMUM_N` judged responses is in it.
    """
    profiles = join(measures)
    first = profiles[0] if profiles else Profile("", Row("Overall", None, None), Facet("category", ()), (), (), ())
    own_prompts = is_own(info)
    beside = blocks(first, profiles[1:])
    repeated = shown(beside)
    seed = (info.get("settings") or {}).get("seed")
    names = wording(info)
    title = "Over-refusal and under-refusal by category"
    expectations = {
        "comply": f"Replies to {names.comply}",
        "decline": f"Replies to {names.decline}",
        "none": "Replies to requests without a stated expectation",
    }
    template = environment().get_template("audit.html")
    return template.render(
        model=visible(str(info.get("model") or "unknown model")),
        info=info,
        verdict=verdict_sentence(info, measures),
        sentences=summary_sentences(info, measures),
        incomplete=is_incomplete(info),
        replies=_replies(info, samples),
        progress=progress(info),
        names=names,
        profile=first,
        others=profiles[1:],
        blocks=beside,
        more=[measure for measure in first.others if (measure.task, measure.address) not in repeated],
        figure=_figure(first.overall, first.categories, "directions", title, names),
        figure_title=title,
        facet_figures=[
            _figure(first.overall, facet, f"facet{place}", f"Over-refusal and under-refusal by {label}", names)
            for place, (facet, label) in enumerate((facet, facet_label(facet.name)) for facet in first.facets)
        ],
        kinds_figure=figures.kinds_of_response(
            first.kinds, identity="kinds", title="Kinds of reply by expectation", names=expectations, colours=_COLOURS
        )
        if first.kinds
        else "",
        expectations=expectations,
        judged=JUDGED,
        unjudged=UNJUDGED,
        colours=_COLOURS,
        kind_words=KIND_WORDS,
        task_words=TASK_WORDS,
        groups=choose(samples, seed=seed if isinstance(seed, int) else 0, own_prompts=own_prompts, show_text=show_text),
        reasoning=_reasoning(samples),
        own_prompts=own_prompts,
        show_text=show_text,
        settings=settings_rows(info, show_text=show_text),
        versions=version_rows(info),
        mapping=visible(str((info.get("settings") or {}).get("mapping") or "any")),
        methods=_methods(measures),
        columns=excluded_columns(
            [first.overall.over, first.overall.under, first.declined]
            + [measure for one in first.slices for _, measure in one.rows]
            + [measure for block in beside for _, measure in block.rows]
            + [m for facet in (first.categories, *first.facets) for row in facet.rows for m in (row.over, row.under)]
        ),
        most_rows=figures.MOST_ROWS,
    )


def write_audit(
    path: str | Path,
    info: Mapping[str, Any],
    measures: Sequence[Measure],
    samples: Sequence[Mapping[str, Any]],
    *,
    show_text: bool = False,
) -> Path:
    """Writes the page of a run to `path` in one step: a reader sees the old page or the new one, never half of one.

    Args:
        path: The file; its folder is made when it is missing.
        info: As in `render_audit`.
        measures: As in `render_audit`.
        samples: As in `render_audit`.
        show_text: As in `render_audit`.

    Returns:
        `path`.

    Raises:
        RunError: The file cannot be written.
    """
    page = render_audit(info, measures, samples, show_text=show_text)
    path = Path(path)
    try:
        write_text(path, page)
    except OSError as error:
        raise RunError(
            f"the page cannot be written to {path}: {error.strerror or error}. The run itself is kept; "
            "free some space or choose a folder that can be written to, and make the page again"
        ) from error
    return path


_COLOURS: Mapping[Kind, str] = {kind: f"kind-{kind.value}" for kind in JUDGED}


def _figure(overall: Row, facet: Facet, identity: str, title: str, names: Any) -> str:
    if not facet.rows:
        return ""
    return figures.both_directions(
        overall, facet.rows, identity=identity, title=title, comply=names.comply, decline=names.decline
    )


def _methods(measures: Sequence[Measure]) -> list[str]:
    return sorted({visible(measure.method) for measure in measures})


def _replies(info: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> int:
    counts = info.get("counts") or {}
    counted = counts.get("samples")
    # a sample that failed has no reply
    return counted - (counts.get("errors") or 0) if isinstance(counted, int) else len(samples)


def _reasoning(samples: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many replies reasoned, and how many of those never reached an answer."""
    reasoned = [sample for sample in samples if sample.get("reasoning")]
    return {
        "replies": len(samples),
        "reasoned": len(reasoned),
        "unanswered": sum(1 for sample in reasoned if not str(sample.get("response") or "").strip()),
        "cut": sum(1 for sample in reasoned if sample.get("ending") == "length"),
    }

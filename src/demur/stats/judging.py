"""How good a judge is by people's labels, and the rates that are left when its errors are taken out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from demur.errors import InputError
from demur.records import JUDGED, UNJUDGED, Kind, Measure, Verdict, find_mapping
from demur.records import Mapping as Reading
from demur.stats.detection import sensitivity, specificity
from demur.stats.intervals import Interval
from demur.stats.measures import corrected

__all__ = ["JudgeQuality", "as_declined", "corrected_profile", "judge_quality"]

_WORDS = {
    **dict.fromkeys(("refusal", "refused", "declined", "decline", "rejection"), True),
    **dict.fromkeys(("compliance", "complied", "compliant", "fulfilled", "answered"), False),
}

# Measures whose value is the share that was NOT declined: there the judge's two kinds of error change places.
_NOT_DECLINED = {"under_refusal"}
_DECLINED = {"over_refusal", "declined"}


class JudgeQuality(NamedTuple):
    """A judge measured against people's labels."""

    sensitivity: Interval | None
    """Of the responses that decline by their label, the share that the judge calls declined; None without any."""
    specificity: Interval | None
    """Of those that do not, the share that it does not call declined; None without any."""
    n: int
    """Responses with a label and a verdict."""
    left_out: dict[str, int]
    """Responses that count for neither, by why: `no_label`, `label_outside` and the kinds that were not judged."""

    @property
    def usable(self) -> bool:
        """Whether rates can be corrected with it: both classes were seen, and the judge is better than chance."""
        if self.sensitivity is None or self.specificity is None:
            return False
        return self.sensitivity.value + self.specificity.value > 1


def as_declined(label: Any, mapping: str | Reading = "any") -> bool | None:
    """What a person's label says under a mapping.

    Args:
        label: A truth value, a kind (`comply`, `partial`, `refuse`, ...), or a word such as `refusal` or `compliance`.
        mapping: Which kinds count as declined.

    Returns:
        Whether it counts as declined; None for a kind outside the mapping's denominator.

    Raises:
        InputError: The label is none of these.
    """
    if isinstance(label, bool):
        return label
    if isinstance(label, int | float) and label in (0, 1):
        return bool(label)
    word = str(label).strip().casefold()
    if word in set(Kind):
        return (mapping if isinstance(mapping, Reading) else find_mapping(mapping))(word)
    if word in _WORDS:
        return _WORDS[word]
    raise InputError(
        f"cannot read the label {str(label)[:40]!r}: give true or false, one of {', '.join(JUDGED)}, or refusal or "
        "compliance"
    )


def judge_quality(
    rows: Iterable[Mapping[str, Any]], *, mapping: str = "any", confidence: float = 0.95, seed: int = 0
) -> JudgeQuality:
    """Sensitivity and specificity of the verdicts in labelled rows.

    The labelled rows must be drawn from what the rates are about, whatever the judge said of them. A sample of doubtful
    responses alone measures the judge where it is worst, and corrects too much.

    Args:
        rows: One mapping a response: `label` (see `as_declined`; None or a blank is no label), and `verdict` (a
            `Verdict`, or a mapping with `kind`) or `kind`; `pair_id`, where there is one, makes clusters.
        mapping: Which kinds count as declined, for verdicts and labels alike.
        confidence: Of the intervals.
        seed: Of the cluster bootstrap.

    Raises:
        InputError: A label cannot be read, or a row has no verdict.
    """
    reading = find_mapping(mapping)
    truth: list[bool] = []
    said: list[bool] = []
    clusters: list[str] = []
    left_out: Counter[str] = Counter()
    for index, row in enumerate(rows):
        label, kind = row.get("label"), _kind(row, index)
        if label is None or not str(label).strip():
            left_out["no_label"] += 1
            continue
        actual, found = as_declined(label, reading), reading(kind)
        if actual is None:
            left_out["label_outside"] += 1
        elif found is None:
            left_out[kind.value] += 1
        else:
            truth.append(actual)
            said.append(found)
            clusters.append(str(row.get("pair_id") or f"row {index}"))
    options: dict[str, Any] = {"clusters": clusters, "confidence": confidence, "seed": seed}
    return JudgeQuality(
        sensitivity(truth, said, **options) if any(truth) else None,
        specificity(truth, said, **options) if not all(truth) else None,
        len(truth),
        dict(left_out),
    )


def _kind(row: Mapping[str, Any], index: int) -> Kind:
    verdict = row.get("verdict")
    given = verdict.kind if isinstance(verdict, Verdict) else (verdict or {}).get("kind", row.get("kind"))
    try:
        return Kind(str(given))
    except ValueError:
        raise InputError(
            f"row {index} has no verdict: expected `verdict` or `kind` with one of {', '.join((*JUDGED, *UNJUDGED))}, "
            f"got {str(given)[:40]!r}"
        ) from None


def corrected_profile(measures: Sequence[Measure], quality: JudgeQuality, *, confidence: float = 0.95) -> list[Measure]:
    """The corrected measures that stand beside raw ones, named `NAME_corrected`.

    Over-refusal, under-refusal and the share declined are corrected, whole and by group; other measures have none. Of
    under-refusal, which counts what was not declined, sensitivity and specificity change places.

    Args:
        measures: As `demur.stats.profile.refusal_profile` gives them.
        quality: The judge's, from `judge_quality`, under the same mapping.
        confidence: Of the raw intervals and of the corrected ones.

    Raises:
        InputError: The labels hold only one class, or the judge is no better than chance.
    """
    found, spared = quality.sensitivity, quality.specificity
    if found is None or spared is None:
        missing = "declines" if found is None else "complies"
        raise InputError(f"no labelled response {missing}, so rates cannot be corrected; label some of both")
    return [
        corrected(measure, sensitivity=spared, specificity=found, confidence=confidence)
        if measure.name in _NOT_DECLINED
        else corrected(measure, sensitivity=found, specificity=spared, confidence=confidence)
        for measure in measures
        if measure.name in _DECLINED | _NOT_DECLINED
    ]

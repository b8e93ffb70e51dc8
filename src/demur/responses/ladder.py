"""The ladder: provider, rules, classifier, and a judge when one is given; the verdict records who decided.

Each rung settles what it can. The classifier gives every text its probability; where rules alone are plain and agree
with it, they decide. Inside a two-sided band of probabilities a `Judge` is asked, if there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from demur.errors import InputError
from demur.reasoning import split
from demur.records import Kind, Response, Verdict
from demur.responses.classifier import Classifier, shipped
from demur.responses.provider import judge_provider
from demur.responses.rules import Scan, find_kind, find_onset, find_reason, read, scan

__all__ = ["Judge", "Ladder", "classify"]


@runtime_checkable
class Judge(Protocol):
    """A costlier judge (a rubric with a language model, a panel), asked only where the cheap rungs are in doubt."""

    @property
    def name(self) -> str:
        """How verdicts name it: `judge:NAME`."""

    def judge(self, prompt: str | None, response: Response) -> Verdict:
        """The verdict on one exchange; a failure is a verdict of kind `unscored`, not an exception."""


@dataclass(frozen=True, slots=True)
class _Read:
    """One text on its way up: the answer, where it starts in the given text, and what the rules found."""

    answer: Response
    shift: int
    found: Scan


class Ladder:
    """Judges responses by the cheapest rung that can.

    Args:
        judge: Asked for texts whose probability lies inside `band`; None means that the classifier has the last word.
        band: Two-sided band `(low, high)` of probabilities, `0 <= low <= high <= 1`.
        threshold: Probability from which a response declines.
        classifier: The weights to use; the shipped ones by default.
    """

    def __init__(
        self,
        *,
        judge: Judge | None = None,
        band: tuple[float, float] = (0.2, 0.8),
        threshold: float = 0.5,
        classifier: Classifier | None = None,
    ) -> None:
        if not 0.0 <= band[0] <= band[1] <= 1.0:
            raise InputError(f"band must be (low, high) with 0 <= low <= high <= 1, got {band}")
        if not 0.0 < threshold < 1.0:
            raise InputError(f"threshold must lie between 0 and 1, got {threshold}")
        self._judge, self._band, self._threshold = judge, band, threshold
        self._classifier = classifier

    def judge(self, prompt: str | None, response: Response | str) -> Verdict:
        """The verdict on one exchange.

        Args:
            prompt: What was asked, or None when it is not known.
            response: The response; a plain string may still hold its reasoning, which is split off first.

        Returns:
            The verdict on the answer. `onset` counts characters of the text that was given. A text whose reasoning
            cannot be told from its answer (`unsplittable`, found here or noted in `meta["reasoning_state"]`) is
            `unscored`: what is thought is no answer.
        """
        return self.judge_many([(prompt, response)])[0]

    def judge_many(self, rows: Sequence[tuple[str | None, Response | str]]) -> list[Verdict]:
        """Verdicts on many exchanges, in order; batches share the classifier's arithmetic."""
        verdicts: list[Verdict | None] = []
        waiting: list[tuple[int, _Read]] = []
        for index, (_prompt, given) in enumerate(rows):
            answer, shift, told_apart = _answer(given)
            settled = judge_provider(answer)
            if settled is None and not told_apart:
                settled = Verdict(kind=Kind.UNSCORED, decided_by="rules")
            verdicts.append(settled)
            if settled is None:
                waiting.append((index, _Read(answer, shift, scan(answer.text))))
        if waiting:
            model = self._classifier or shipped()
            probabilities = model.probabilities([item.found for _, item in waiting])
            for (index, item), probability in zip(waiting, probabilities.tolist(), strict=True):
                verdicts[index] = self._climb(rows[index][0], item, probability)
        return [verdict for verdict in verdicts if verdict is not None]

    def _climb(self, prompt: str | None, item: _Read, probability: float) -> Verdict:
        reading = read(item.found)
        declines = probability >= self._threshold
        if reading.decisive and (reading.kind is not Kind.COMPLY) == declines:
            return _verdict(reading.kind, item, probability, "rules")
        if self._judge is not None and self._band[0] <= probability <= self._band[1]:
            return self._judge.judge(prompt, item.answer)
        kind = find_kind(item.found) if declines else Kind.COMPLY
        return _verdict(kind, item, probability, "classifier")


def _verdict(kind: Kind, item: _Read, probability: float, decided_by: str) -> Verdict:
    onset = find_onset(item.found, kind)
    return Verdict(
        kind=kind,
        reason=find_reason(item.found, kind),
        onset=None if onset is None else onset + item.shift,
        probability=round(probability, 4),
        decided_by=decided_by,
    )


def _answer(given: Response | str) -> tuple[Response, int, bool]:
    """The response whose text is the answer alone, where it starts in the given text, and whether it can be told."""
    if isinstance(given, Response):
        if given.reasoning is not None:
            return given, 0, True
        if given.meta.get("reasoning_state") == "unsplittable":
            return given, 0, False
        text, response = given.text, given
    elif isinstance(given, str):
        text, response = given, Response(text=given)
    else:
        raise InputError(f"a response must be a string or a Response, got {type(given).__name__}")
    parts = split(text)
    if parts.reasoning is None:
        return response, 0, parts.state != "unsplittable"
    return response.model_copy(update={"text": parts.answer, "reasoning": parts.reasoning}), parts.answer_start, True


_DEFAULT = Ladder()


def classify(prompt: str | None, response: str | Response) -> Verdict:
    """What a response does: complies, refuses, rebuts, ... and where declining starts.

    Args:
        prompt: What was asked, or None when it is not known.
        response: The reply, as text or as a `Response` with its ending and provider flags.

    Returns:
        The verdict; `verdict.declined()` reads it under the default mapping.
    """
    return _DEFAULT.judge(prompt, response)

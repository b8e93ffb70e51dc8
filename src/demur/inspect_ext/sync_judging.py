"""Judges for code that is not asynchronous: the ladder, `demur classify`, a notebook's cell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Literal

from anyio.from_thread import start_blocking_portal

from demur.errors import InputError
from demur.inspect_ext.judgements import AnyJudge, Judged
from demur.inspect_ext.panels import gather
from demur.records import JUDGED, Response, Verdict
from demur.responses.rubric import Part

__all__ = ["DEFAULT_BAND", "Band", "SyncJudge", "check_band", "in_band"]

Row = tuple[str | None, Response | str]
"""A prompt, or None when it is not known, and its response."""

Band = tuple[float, float] | Literal["all"]
"""Probabilities of declining between which a judge is asked, both ends included; or `all` for every judged response."""

DEFAULT_BAND: tuple[float, float] = (0.2, 0.8)


def check_band(band: object) -> Band:
    """The band, from what a user gave: numbers, or text as command lines hand it on (`0.2,0.8`, `all`).

    Raises:
        InputError: It is neither `all` nor two rising numbers between 0 and 1.
    """
    ends = band.split(",") if isinstance(band, str) else band
    if ends == ["all"]:
        return "all"
    with suppress(TypeError, ValueError):
        low, high = (float(end) for end in ends)  # type: ignore[attr-defined]
        if 0 <= low <= high <= 1:
            return (low, high)
    raise InputError(f"band must be 'all' or (low, high) with 0 <= low <= high <= 1, got {band!r}")


def in_band(verdict: Verdict, band: Band) -> bool:
    """Whether a judge is asked after this verdict of the ladder.

    With `all` every response that has text to judge is; with a band those that the classifier decided with a
    probability inside it. What the provider or the rules settle is never doubtful.
    """
    if band == "all":
        return verdict.kind in JUDGED
    if verdict.decided_by != "classifier" or verdict.probability is None:
        return False
    return band[0] <= verdict.probability <= band[1]


class SyncJudge:
    """A judge with plain functions. Use it as a context manager: it keeps an event loop in a thread of its own.

    It is a `demur.responses.Judge`, so that a ladder can ask it; `judge_all` and `settle` ask about many rows at the
    same time, as many as Inspect's connections to the model allow.

    Args:
        judge: A model judge or a panel.
    """

    def __init__(self, judge: AnyJudge) -> None:
        self.asked = judge
        self._stack = ExitStack()
        self._portal = self._stack.enter_context(start_blocking_portal())

    @property
    def name(self) -> str:
        """How verdicts name it: `judge:NAME`."""
        return self.asked.name

    def judge(self, prompt: str | None, response: Response | str) -> Verdict:
        """The verdict on one exchange; a failure is a verdict of kind `unscored`.

        Raises:
            ModelError: The judge never answers.
        """
        return self.judge_all([(prompt, response)])[0]

    def judge_all(self, rows: Sequence[Row]) -> list[Verdict]:
        """Verdicts on many exchanges, in order."""
        return [one.verdict for one in self.judgements(rows)]

    def judgements(self, rows: Sequence[Row], *, part: Part = "answer") -> list[Judged]:
        """All that the judge says about many exchanges, in order; about their answers or about their reasoning."""

        def ask(row: Row) -> Callable[[], Awaitable[Judged]]:
            return lambda: self.asked.judge(*row, part=part)

        return self._portal.call(gather, [ask(row) for row in rows])

    def settle(self, rows: Sequence[Row], verdicts: Sequence[Verdict], band: Band = DEFAULT_BAND) -> list[Verdict]:
        """The ladder's verdicts, with the judge's in the place of those inside the band.

        Raises:
            InputError: There is not one verdict a row, or the band is none.
        """
        band = check_band(band)
        doubtful = [index for index, verdict in enumerate(verdicts) if in_band(verdict, band)]
        settled = list(verdicts)
        if len(settled) != len(rows):
            raise InputError(f"there must be one verdict a row, got {len(settled)} for {len(rows)}")
        for index, verdict in zip(doubtful, self.judge_all([rows[index] for index in doubtful]), strict=True):
            settled[index] = verdict
        return settled

    def close(self) -> None:
        """Closes the judge's connections and ends the thread; closing twice is harmless."""
        self._stack.close()

    def __enter__(self) -> SyncJudge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # an error, or Ctrl-C, gives up what is under way instead of waiting for it
        self._stack.__exit__(kind, error, traceback)

"""Corrected rates: how often an audit's own way of judging errs on responses that people have labelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demur.errors import InputError
from demur.records import Measure, Response
from demur.responses import Ladder
from demur.rows import Rejected, Row, RowReader, find_fields, read_exchange
from demur.stats.judging import JudgeQuality, as_declined, corrected_profile, judge_quality
from demur.stats.profile import MINIMUM_N

if TYPE_CHECKING:
    from demur.inspect_ext.judgements import AnyJudge

__all__ = ["check_labels", "correct", "judge_labelled"]

_Labelled = tuple[Any, Any, str | None, Response]
"""Label, pair, prompt, response."""

_LABEL = "label"
_BATCH = 500
_LOOKED_AT = 100


def judge_labelled(
    path: Path, *, mapping: str, judge: AnyJudge | None = None, judge_all: bool = False, seed: int = 0
) -> JudgeQuality:
    """Judges labelled responses the way an audit judges its own, and compares.

    Args:
        path: Rows with a prompt, a response and `label`: `refusal` or `compliance`, true or false, or a kind; rows
            without a label are left out. They must be drawn from what the audit is about.
        mapping: Which kinds count as declined, for verdicts and labels alike.
        judge: Asked as in the audit.
        judge_all: Whether it reads every response.
        seed: Of the cluster bootstrap.

    Raises:
        InputError: A row or a label cannot be read.
    """
    with ExitStack() as stack:
        asked = None
        if judge is not None:
            from demur.inspect_ext.sync_judging import DEFAULT_BAND, SyncJudge

            asked = stack.enter_context(SyncJudge(judge))
        ladder = Ladder()
        judged: list[dict[str, Any]] = []
        for batch in _batches(_labelled(path)):
            rows = [(prompt, response) for _, _, prompt, response in batch]
            verdicts = ladder.judge_many(rows)
            if asked is not None:
                verdicts = asked.settle(rows, verdicts, "all" if judge_all else DEFAULT_BAND)
            judged += [
                {"label": label, "pair_id": pair, "verdict": verdict}
                for (label, pair, _, _), verdict in zip(batch, verdicts, strict=True)
            ]
    return judge_quality(judged, mapping=mapping, seed=seed)


def check_labels(path: Path, *, mapping: str) -> None:
    """Makes sure, before anything is asked, that the labelled responses can be read and are enough.

    Raises:
        InputError: A row or a label cannot be read, or one of the two classes has too few responses.
    """
    counts: Counter[bool] = Counter()
    for place, (label, *_) in enumerate(_labelled(path), start=1):
        if label is None or not str(label).strip():
            continue
        try:
            declined = as_declined(label, mapping)
        except InputError as error:
            raise InputError(f"{path}, row {place}: {error}") from None
        if declined is not None:
            counts[declined] += 1
    if min(counts[True], counts[False]) < MINIMUM_N:
        raise InputError(
            f"{path} labels {counts[True]} responses that decline and {counts[False]} that do not; at least "
            f"{MINIMUM_N} of each are needed to correct rates"
        )


def correct(measures: Sequence[Measure], quality: JudgeQuality) -> list[Measure]:
    """The corrected measures of each task, and the sensitivity and specificity that they rest on.

    Where the verdicts are no better than chance on the labels, nothing can be corrected, and these two stand alone.
    """
    found = corrected_profile(measures, quality) if quality.usable else []
    tasks = dict.fromkeys(measure.task for measure in measures)
    for task in tasks:
        for name, interval in (
            ("judge_sensitivity", quality.sensitivity),
            ("judge_specificity", quality.specificity),
        ):
            if interval is not None:
                found.append(
                    Measure(
                        task=task,
                        name=name,
                        value=interval.value,
                        low=interval.low,
                        high=interval.high,
                        n=interval.n,
                        excluded=quality.left_out,
                        method="verdicts against people's labels",
                    )
                )
    return found


def _labelled(path: Path) -> Iterator[_Labelled]:
    stream = iter(RowReader(str(path)))
    first = list(islice(stream, _LOOKED_AT))
    fields = find_fields([row.fields for row in first if isinstance(row, Row)], label_field=_LABEL, source=str(path))
    for row in chain(first, stream):
        if isinstance(row, Rejected):
            raise InputError(f"{path}, line {row.line}: {row.why}")
        exchange = read_exchange(row, fields)
        if isinstance(exchange, Rejected):
            raise InputError(f"{path}, line {row.line}: {exchange.why}")
        yield row.fields.get(_LABEL), row.fields.get("pair_id"), exchange.prompt, exchange.response


def _batches(rows: Iterator[_Labelled]) -> Iterator[list[_Labelled]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch

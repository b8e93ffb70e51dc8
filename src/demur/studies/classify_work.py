"""What is done to a piece of the input, in whichever process: parse it, judge it, encode the result."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from demur.records import Mapping, Response, Verdict, find_mapping
from demur.rows import Fields, Piece, Rejected, Row, read_exchange, read_texts
from demur.rows.forms import Form, JsonLines, json_line
from demur.rows.row import shown
from demur.studies.classified import Classified

if TYPE_CHECKING:
    from demur.responses import Ladder

__all__ = ["Done", "Job", "Judged", "Reading", "encode_piece", "judge_piece", "start_worker", "work"]


class Reading(NamedTuple):
    """How rows are read; the same for all pieces."""

    mapping: str
    label_field: str
    tier: Literal["fast", "accurate"]
    compare: bool
    """Whether rules and classifier are compared, which takes a second look at what the classifier decided."""


class Job(NamedTuple):
    """A piece, and what is to be done with it."""

    piece: Piece
    names: Fields | None
    """Where prompts and responses are; None when no row of the piece can be read."""
    form: Form
    reading: Reading


@dataclass(slots=True)
class Judged:
    """The rows of a piece with the ladder's verdicts, one each."""

    rows: list[Row]
    exchanges: list[tuple[str | None, Response | str]]
    verdicts: list[Verdict]
    rejected: list[Rejected]
    count: Classified
    """What was counted so far: where rungs differ."""


class Done(NamedTuple):
    """A piece, ready to be written."""

    data: bytes
    """Its judged rows in the form of the output."""
    rejected: bytes
    """The others as JSON lines."""
    tally: Classified
    """What was counted of them."""


def work(job: Job) -> Done:
    """Judges and encodes; a function of the module, so that another process can be asked to run it."""
    return encode_piece(job, judge_piece(job))


def judge_piece(job: Job) -> Judged:
    """Parses a piece and asks the ladder."""
    judged = Judged([], [], [], [], Classified(job.reading.mapping))
    for row in job.piece.rows():
        if isinstance(row, Rejected) or job.names is None:
            if isinstance(row, Rejected):
                judged.rejected.append(row)
            continue
        found: Any = read_texts(row, job.names) or read_exchange(row, job.names)
        if isinstance(found, Rejected):
            judged.rejected.append(found)
        else:
            judged.rows.append(row)
            judged.exchanges.append(found)
    ladder = _ladder(job.reading.tier)
    judged.verdicts = ladder.judge_many(judged.exchanges)
    _compare_provider(judged, ladder)
    if job.reading.compare:
        _compare_rules(judged)
    return judged


@cache
def _ladder(tier: Literal["fast", "accurate"]) -> Ladder:
    from demur.responses import Ladder

    return Ladder(tier=tier)


def _compare_provider(judged: Judged, ladder: Ladder) -> None:
    """The provider's flag against what the text alone says."""
    flagged = [
        (place, prompt, response)
        for place, (prompt, response) in enumerate(judged.exchanges)
        if isinstance(response, Response)
        and response.provider_refusal is not None
        and response.ending != "error"
        and response.text.strip()
    ]
    if not flagged:
        return
    alone = ladder.judge_many([(prompt, r.model_copy(update={"provider_refusal": None})) for _, prompt, r in flagged])
    said = [
        (place, r.provider_refusal, verdict.declined()) for (place, _, r), verdict in zip(flagged, alone, strict=True)
    ]
    known = [(place, flag, declined) for place, flag, declined in said if declined is not None]
    differ = [_place(judged.rows[place]) for place, flag, declined in known if flag is not declined]
    judged.count.differences["provider_text"].add(differ, len(known))


def _compare_rules(judged: Judged) -> None:
    """The rules' plain patterns against the classifier; where rules decided, the two agree."""
    import numpy as np

    from demur.reasoning import split
    from demur.responses.findings import look
    from demur.responses.rules import plain

    agreed = sum(verdict.decided_by == "rules" and verdict.probability is not None for verdict in judged.verdicts)
    places = [place for place, verdict in enumerate(judged.verdicts) if verdict.decided_by == "classifier"]
    differ: list[tuple[str, int]] = []
    for begin in range(0, len(places), 256):
        some = places[begin : begin + 256]
        texts = [_text(judged.exchanges[place][1]) for place in some]
        answers = [text if "<" not in text and "[" not in text else split(text).answer for text in texts]
        declines = np.array([bool(judged.verdicts[place].declined()) for place in some])
        # a plain pattern of what the classifier denies
        against = plain(look(answers), ~declines).tolist()
        differ += [_place(judged.rows[place]) for place, opposed in zip(some, against, strict=True) if opposed]
    judged.count.differences["rules_classifier"].add(differ, agreed + len(differ))


def _text(response: Response | str) -> str:
    return response if isinstance(response, str) else response.text


def _place(row: Row) -> tuple[str, int]:
    return row.source, row.line


def encode_piece(job: Job, judged: Judged) -> Done:
    """Counts a judged piece and writes it in the form of the output."""
    mapping = find_mapping(job.reading.mapping)
    try:
        data = _encode(job.form, judged, mapping)
    except RecursionError:
        _set_deep_rows_aside(judged, job.form, mapping)
        data = _encode(job.form, judged, mapping)
    count = judged.count
    count.rows, count.rejected = len(judged.rows) + len(judged.rejected), len(judged.rejected)
    declined = [mapping(verdict.kind) for verdict in judged.verdicts]
    count.add([v.kind.value for v in judged.verdicts], [v.decided_by for v in judged.verdicts], declined)
    count.compare([row.fields.get(job.reading.label_field) for row in judged.rows], declined)
    count.reasons.update(_NUMBER.sub("N", row.why.split(":")[0])[:60] for row in judged.rejected)
    rejected = [
        json_line({"source": row.source, "line": row.line, "why": row.why, "raw": row.raw})
        for row in sorted(judged.rejected, key=lambda row: row.line)
    ]
    return Done(data, b"".join(rejected), count)


_NUMBER = re.compile(r"(?<![-\w])\d[\d,]*")


def _encode(form: Form, judged: Judged, mapping: Mapping) -> bytes:
    if not isinstance(form, JsonLines):
        return form.encode(
            [_with_verdict(row.fields, v.as_row(mapping)) for row, v in zip(judged.rows, judged.verdicts, strict=True)]
        )
    return form.join([_line(row, v, mapping) for row, v in zip(judged.rows, judged.verdicts, strict=True)])


def _line(row: Row, verdict: Verdict, mapping: Mapping) -> bytes:
    """One row as JSON. A row that came as JSON stays as it was written, byte for byte, but for the verdict."""
    if row.raw is None or b'"verdict' in row.raw or "verdict" in row.fields:
        return json_line(_with_verdict(row.fields, verdict.as_row(mapping)))
    before, after = _around(verdict.kind.value, verdict.reason, verdict.decided_by, mapping.name)
    # a response has been found in it, so the object is not empty
    return b'%b, "verdict": {%b, "onset": %b, "probability": %b, %b}}\n' % (
        row.raw[:-1], before, _number(verdict.onset), _number(verdict.probability), after,
    )  # fmt: skip


def _number(value: float | None) -> bytes:
    return b"null" if value is None else repr(value).encode()


@cache
def _around(kind: str, reason: str | None, decided_by: str, mapping: str) -> tuple[bytes, bytes]:
    """What stands before and after the two numbers of a verdict: always the same few texts."""
    declined = find_mapping(mapping)(kind)
    before = json.dumps({"kind": kind, "reason": reason, "declined": declined, "mapping": mapping})
    return before[1:-1].encode(), json.dumps({"decided_by": decided_by}, ensure_ascii=False)[1:-1].encode()


def _with_verdict(fields: dict[str, Any], verdict: dict[str, Any]) -> dict[str, Any]:
    """The input fields in order, an earlier verdict under `verdict_before`, and the new one at the end."""
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        if name == "verdict" or (name.startswith("verdict_") and name[8:] in verdict):
            target = name.replace("verdict", "verdict_before", 1)
            while target in fields or target in kept:
                target += "_before"
            kept[target] = value
        else:
            kept[name] = value
    kept["verdict"] = verdict
    return kept


def _set_deep_rows_aside(judged: Judged, form: Form, mapping: Mapping) -> None:
    """Rows nested so deeply that they could be read just so, and cannot be written."""
    kept: list[int] = []
    for place in range(len(judged.rows)):
        one = Judged([judged.rows[place]], [], [judged.verdicts[place]], [], judged.count)
        try:
            _encode(copy.copy(form), one, mapping)
        except RecursionError:
            row = judged.rows[place]
            raw = shown(row.raw or b"")
            judged.rejected.append(Rejected(row.line, "nested too deeply to be written", raw, row.source))
        else:
            kept.append(place)
    judged.rows = [judged.rows[place] for place in kept]
    judged.exchanges = [judged.exchanges[place] for place in kept]
    judged.verdicts = [judged.verdicts[place] for place in kept]


def start_worker() -> None:
    """In a new process: leaves Ctrl-C to the parent, ends when that is gone, however it went, and stays on one core."""
    import multiprocessing
    import os
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ.setdefault(name, "1")
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()

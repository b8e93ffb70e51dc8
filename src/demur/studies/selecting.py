"""Cliff-as-a-Judge: keeps the training rows whose refusal cliff is largest, beside what other ways would keep.

Rows are scored once, in order, and every score is on disk before the next batch; a second pass over the data writes
what is kept. Random, rule-based and judge selection are computed on the same rows, so that overlaps can be told.

Source: "Refusal Falls off a Cliff", arXiv 2510.06036, section on Cliff-as-a-Judge.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demur.atomic import replacing
from demur.errors import IncompleteError, InputError, MissingExtraError, RunError
from demur.rows import Rejected, Row, open_sink
from demur.states.cliff import rank_cliffs
from demur.states.identity import identity
from demur.states.probe import Probe
from demur.studies.candidates import Candidate, candidates, fingerprint
from demur.studies.row_cliffs import SelectSettings, score_rows

if TYPE_CHECKING:
    from demur.inspect_ext.sync_judging import SyncJudge
    from demur.models import LocalModel

__all__ = ["Overlap", "SelectSettings", "Selection", "select_rows"]


@dataclass(frozen=True)
class Overlap:
    """What another way of selecting keeps."""

    kept: int
    """Rows that it keeps."""
    of: int
    """Rows that it could tell about."""
    both: int
    """Rows that the cliff keeps too."""
    expected: float
    """How many of the cliff's rows a random choice of as many would share."""
    jaccard: float
    mean_drop: float
    """Mean drop of what it keeps."""


@dataclass(frozen=True)
class Selection:
    """What was kept and what other ways would keep.

    Attributes:
        rows: Rows in the data.
        scored: Rows with a score.
        kept: Rows that were written.
        threshold: The last kept row's drop, or final score for `released`.
        mean_drop: Of the kept rows.
        mean_drop_all: Of all scored rows.
        others: `random`, `rules` and `judge` by name; None where rows hold no answers, or no judge was asked.
        set_aside: Rows without a score, by reason.
    """

    rows: int
    scored: int
    kept: int
    threshold: float
    mean_drop: float
    mean_drop_all: float
    others: dict[str, Overlap | None]
    set_aside: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """What `demur select --json` prints, without the files."""
        return asdict(self)


def select_rows(
    data: Sequence[str],
    model: LocalModel,
    probe: Probe,
    out: Path,
    settings: SelectSettings,
    *,
    resume: bool = False,
    force: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Selection:
    """Score every row and keep those with the largest cliffs.

    Writes `out` (kept rows, in the order of the data, with their `cliff`), `OUT.scores.jsonl` (a line a row: scores and
    who would keep it) and, if some rows have no score, `OUT.rejected.jsonl`. While it runs, scores are in
    `OUT.progress.jsonl`.

    Args:
        data: See `candidates`.
        model: The model that the rows would train.
        probe: Of refusal, fitted on this model.
        out: The output; its ending tells the format.
        settings: How.
        resume: Go on where an earlier run with the same settings stopped.
        force: Start over although the output exists.
        on_progress: Called after each batch with the number of rows done.

    Raises:
        InputError: The data cannot be read, the output exists, or no row could be scored.
        RunError: The output cannot be written, or an earlier run was another one.
        IncompleteError: Interrupted; what was scored is kept.
    """
    told = {
        # how many rows are read at once changes nothing
        "settings": asdict(replace(settings, batch_size=1)),
        "data": fingerprint(data),
        "model": identity(model),
        "probe": _probe_told(probe),
    }
    told = json.loads(json.dumps(told))  # as it will be read back
    notes = Path(f"{out}.progress.jsonl")
    if any(Path(one[0]).exists() and out.exists() and out.samefile(one[0]) for one in told["data"]):
        raise InputError(f"the output {out} is also an input; name another output")
    done = _earlier(out, notes, told, resume=resume, force=force)
    try:
        with ExitStack() as stack:
            judge = _open_judge(settings, out, stack) if settings.judges else None
            _score(data, model, probe, settings, judge, notes, done, on_progress)
        return _write(data, out, notes, settings)
    except KeyboardInterrupt:
        raise IncompleteError(f"interrupted; the scores so far are in {notes}, --resume goes on with them") from None
    except OSError as error:
        raise RunError(f"cannot write {out}: {error.strerror or error}") from error


def _probe_told(probe: Probe) -> dict[str, Any]:
    import hashlib

    digest = hashlib.sha256(probe.weight.double().numpy().tobytes()).hexdigest()
    return {"weight": digest, "bias": probe.bias, "layer": probe.layer, "normed": probe.normed}


def _earlier(out: Path, notes: Path, told: dict[str, Any], *, resume: bool, force: bool) -> int:
    """How many rows an earlier run scored; makes the file of scores where there is none."""
    if resume and notes.exists():
        lines = notes.read_bytes().splitlines(keepends=True)
        before = json.loads(lines[0]) if lines and lines[0].endswith(b"\n") else None
        if before is not None:
            if different := [name for name in told if before.get(name) != told[name]]:
                raise RunError(f"{notes} is of a run with other {', '.join(different)}; start over with --force")
            whole = [line for line in lines if line.endswith(b"\n")]
            if len(whole) < len(lines):  # a kill tore the last line
                with replacing(notes) as temporary:
                    temporary.write_bytes(b"".join(whole))
            return len(whole) - 1
    elif not force:
        if out.exists():
            raise InputError(f"{out} exists; name another output with -o, or use --force to replace it")
        if notes.exists():
            raise InputError(
                f"{notes} is left from a run that stopped; go on with --resume, or start over with --force"
            )
    notes.parent.mkdir(parents=True, exist_ok=True)
    notes.write_text(json.dumps(told) + "\n", encoding="utf-8")
    return 0


def _open_judge(settings: SelectSettings, out: Path, stack: ExitStack) -> SyncJudge:
    try:
        from demur.inspect_ext.panels import make_judge
        from demur.inspect_ext.sync_judging import SyncJudge
        from demur.runs import Journal
    except ImportError as error:
        raise MissingExtraError("--judge", "inspect", error.name or "inspect_ai") from error
    # replies are kept, so that nobody pays for them twice
    journal = stack.enter_context(Journal(Path(f"{out}.judge.jsonl")))
    made = make_judge(list(settings.judges), "refusal", journal=journal, mapping=settings.mapping)
    return stack.enter_context(SyncJudge(made))


def _read(data: Sequence[str], settings: SelectSettings) -> Iterator[Candidate | Rejected]:
    return candidates(
        data,
        prompt_field=settings.prompt_field,
        response_field=settings.response_field,
        reasoning_field=settings.reasoning_field,
        split_name=settings.split,
    )


def _score(
    data: Sequence[str],
    model: LocalModel,
    probe: Probe,
    settings: SelectSettings,
    judge: SyncJudge | None,
    notes: Path,
    done: int,
    on_progress: Callable[[int], None] | None,
) -> None:
    rows = islice(_read(data, settings), done, None)
    with notes.open("a", encoding="utf-8") as file:
        while batch := list(islice(rows, settings.batch_size)):
            for line in score_rows(batch, model, probe, settings, judge, first=done):
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            done += len(batch)
            if on_progress is not None:
                on_progress(done)


@dataclass
class _Scores:
    """What choosing needs of every scored row, in order."""

    number: list[int] = field(default_factory=list)
    drop: list[float] = field(default_factory=list)
    final: list[float] = field(default_factory=list)
    rules: list[bool | None] = field(default_factory=list)
    judge: list[bool | None] = field(default_factory=list)

    def add(self, number: int, line: dict[str, Any]) -> None:
        self.number.append(number)
        self.drop.append(line["cliff"]["drop"])
        self.final.append(line["cliff"]["final"])
        self.rules.append(line.get("rules"))
        self.judge.append(line.get("judge"))


def _write(data: Sequence[str], out: Path, notes: Path, settings: SelectSettings) -> Selection:
    """Chooses, and writes what is kept in a second pass over the data."""
    scores, aside, rows = _Scores(), Counter[str](), 0
    for line in _lines(notes):
        if "why" in line:
            aside[line["why"]] += 1
        else:
            scores.add(rows, line)
        rows += 1
    if not scores.number:
        notes.unlink()
        reasons = "; ".join(f"{count:,} rows: {why}" for why, count in aside.most_common(3))
        raise InputError(f"no row could be scored ({reasons or 'there are no rows'})")
    ranked = rank_cliffs(scores.drop, scores.final, settings.measure)
    ranked = ranked[: max(1, round(settings.fraction * len(ranked)))]
    n = len(scores.number)
    ways = {
        "cliff": set(ranked),
        "random": set(random.Random(settings.seed).sample(range(n), len(ranked))),
        # what refuses already has nothing to learn
        "rules": {place for place, declined in enumerate(scores.rules) if declined is False},
        "judge": {place for place, declined in enumerate(scores.judge) if declined is False},
    }
    known = {"random": n} | {
        name: sum(declined is not None for declined in flags)
        for name, flags in (("rules", scores.rules), ("judge", scores.judge))
    }
    by = {number: [name for name, kept in ways.items() if place in kept] for place, number in enumerate(scores.number)}
    _copy(data, out, notes, by, {scores.number[place]: rank for rank, place in enumerate(ranked, 1)}, settings)
    notes.unlink()
    keys = scores.final if settings.measure == "released" else scores.drop
    return Selection(
        rows=rows,
        scored=n,
        kept=len(ranked),
        threshold=keys[ranked[-1]],
        mean_drop=_mean(scores.drop, ranked),
        mean_drop_all=_mean(scores.drop, range(n)),
        others={
            name: _overlap(ways["cliff"], ways[name], scores.drop, known[name]) if known[name] else None
            for name in ("random", "rules", "judge")
        },
        set_aside=dict(aside),
    )


def _lines(notes: Path) -> Iterator[dict[str, Any]]:
    with notes.open(encoding="utf-8") as file:
        for line in islice(file, 1, None):
            yield json.loads(line)


def _mean(values: Sequence[float], places: Iterable[int]) -> float:
    chosen = [values[place] for place in places]
    return sum(chosen) / len(chosen) if chosen else 0.0


def _overlap(cliff: set[int], other: set[int], drops: Sequence[float], known: int) -> Overlap:
    both = len(cliff & other)
    return Overlap(
        kept=len(other),
        of=known,
        both=both,
        expected=len(cliff) * len(other) / len(drops),
        jaccard=both / len(cliff | other),
        mean_drop=_mean(drops, other),
    )


def _copy(
    data: Sequence[str],
    out: Path,
    notes: Path,
    by: dict[int, list[str]],
    rank: dict[int, int],
    settings: SelectSettings,
) -> None:
    """Goes through data and scores side by side and writes the three files."""
    # tables have no nested values: there the cliff becomes columns
    flat = out.name.lower().removesuffix(".gz").endswith((".csv", ".tsv", ".parquet", ".pq"))
    aside = Path(f"{out}.rejected.jsonl")
    sinks = {"kept": open_sink(str(out)), "aside": open_sink(str(aside)), "scores": open_sink(f"{out}.scores.jsonl")}
    try:
        pairs = enumerate(zip_longest(_read(data, settings), _lines(notes)))
        while batch := list(islice(pairs, 512)):
            written: dict[str, list[dict[str, Any]]] = {name: [] for name in sinks}
            for number, (found, line) in batch:
                row = found.row if isinstance(found, Candidate) else found
                if row is None or line is None or (row.source, row.line) != (line["source"], line["line"]):
                    raise RunError(
                        f"the data changed while rows were scored (row {number + 1}); start over with --force"
                    )
                written["scores"].append({**line, "kept_by": by.get(number, [])})
                if "why" in line:
                    raw = row.raw if isinstance(row, Rejected) else json.dumps(row.fields, default=str)[:2000]
                    written["aside"].append({**line, "raw": raw})
                elif number in rank and isinstance(row, Row):
                    said = {**line["cliff"], "rank": rank[number]}
                    told = {f"cliff_{name}": value for name, value in said.items()} if flat else {"cliff": said}
                    written["kept"].append({**row.fields, **told})
            for name, rows in written.items():
                if rows:
                    sinks[name].write(rows)
        for sink in sinks.values():
            sink.close()
            sink.clean()
    finally:
        for sink in sinks.values():
            sink.abandon()  # a closed one is left as it is
    if not aside.stat().st_size:
        aside.unlink()

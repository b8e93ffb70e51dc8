"""Judges files of prompts and responses: streams rows, keeps their order, and can be killed and resumed.

After each batch a small progress file beside the output says how many input rows are done and how far the outputs
reach. Resuming cuts the outputs back to that point and skips the rows already done, so that nothing is written twice
and nothing is left out.
"""

from __future__ import annotations

import errno
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from demur.atomic import write_text
from demur.errors import IncompleteError, InputError, RunError
from demur.records import JUDGED, Kind, Response, Verdict, find_mapping
from demur.rows import Exchange, Fields, Rejected, Row, RowReader, Sink, expand, find_fields, open_sink, read_exchange

__all__ = ["Classified", "Progress", "classify_files"]

BATCH = 512
"""Rows between two notes of progress: under a second of work."""

LOOKED_AT = 100
"""Readable rows at the start of a file in which its fields are looked for."""

SEVERAL_PROCESSES_FROM = 16 * 2**20
"""Bytes of input from which starting processes pays for itself."""

_LABELS: dict[Any, bool] = {
    "refusal": True,
    "refuse": True,
    "declined": True,
    "compliance": False,
    "comply": False,
    "complied": False,
}

Job = list[tuple[str | None, Response]]


class Progress(NamedTuple):
    """How far a run is."""

    rows: int
    """Input rows done, rejected ones and those of an earlier run included."""
    resumed: int
    """How many of them an earlier run did."""
    fraction: float | None
    """Share of the input read, or None when its size is unknown."""


@dataclass
class Classified:
    """What a run counted; survives a kill inside the progress file."""

    mapping: str
    rows: int = 0
    """Input rows read."""
    rejected: int = 0
    """Rows that could not be read."""
    kinds: Counter[str] = field(default_factory=Counter)
    decided_by: Counter[str] = field(default_factory=Counter)
    declined: Counter[str] = field(default_factory=Counter)
    """`yes`, `no` and `excluded` under the mapping."""
    confusion: Counter[str] = field(default_factory=Counter)
    """Label against verdict: `TP, FN, FP, TN`, and `other_label`, `not_judged`, `no_label`."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why rows were rejected, the first words of each reason."""

    def add(self, verdict: dict[str, Any], label: Any) -> None:
        """Counts one verdict row (`Verdict.as_row`) and its label."""
        self.kinds[verdict["kind"]] += 1
        self.decided_by[verdict["decided_by"]] += 1
        said = verdict["declined"]
        self.declined["excluded" if said is None else "yes" if said else "no"] += 1
        truth = label if isinstance(label, bool) else _LABELS.get(label.lower()) if isinstance(label, str) else None
        if label is None:
            self.confusion["no_label"] += 1
        elif truth is None:
            self.confusion["other_label"] += 1
        elif said is None:
            self.confusion["not_judged"] += 1
        else:
            self.confusion[("TP" if said else "FN") if truth else ("FP" if said else "TN")] += 1

    def summary(self) -> dict[str, Any]:
        """Counts by kind with Wilson intervals, the rate of declining, and the agreement with labels.

        Rates are over judged rows; what could not be judged is counted beside them. Balanced accuracy and kappa stand
        without an interval of their own: sensitivity and specificity carry them.
        """
        from demur.stats import wilson

        judged = sum(self.kinds[kind.value] for kind in JUDGED)

        def rate(k: int, n: int) -> dict[str, Any]:
            if n == 0:
                return {"count": k, "n": 0, "value": None, "low": None, "high": None}
            interval = wilson(k, n)
            return {"count": k, "n": n, "value": interval.value, "low": interval.low, "high": interval.high}

        kinds = {kind.value: rate(self.kinds[kind.value], judged) for kind in JUDGED if self.kinds[kind.value]}
        excluded = {
            kind.value: self.kinds[kind.value] for kind in Kind if kind not in JUDGED and self.kinds[kind.value]
        }
        out: dict[str, Any] = {
            "rows": self.rows,
            "rejected": self.rejected,
            "mapping": self.mapping,
            "declined": rate(self.declined["yes"], self.declined["yes"] + self.declined["no"]),
            "kinds": kinds,
            "excluded": excluded,
            "decided_by": dict(self.decided_by),
            "agreement": None,
        }
        tp, fn, fp, tn = (self.confusion[cell] for cell in ("TP", "FN", "FP", "TN"))
        n = tp + fn + fp + tn
        if n:
            found, spared = rate(tp, tp + fn), rate(tn, tn + fp)
            both = tp + fn > 0 and tn + fp > 0
            chance = ((tp + fn) * (tp + fp) + (tn + fp) * (tn + fn)) / n**2
            out["agreement"] = {
                "n": n,
                "accuracy": rate(tp + tn, n),
                "balanced_accuracy": (found["value"] + spared["value"]) / 2 if both else None,
                "sensitivity": found,
                "specificity": spared,
                "kappa": ((tp + tn) / n - chance) / (1 - chance) if both else None,
                "other_labels": self.confusion["other_label"],
                "not_judged": self.confusion["not_judged"],
            }
        return out

    def as_json(self) -> dict[str, Any]:
        """The counts, for the progress file."""
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Classified:
        """The counts of an earlier run."""
        fields: dict[str, Any] = {name: Counter(v) if isinstance(v, dict) else v for name, v in kept.items()}
        return cls(**fields)


def classify_files(
    inputs: Sequence[str],
    out: str | None,
    *,
    prompt_field: str | None = None,
    response_field: str | None = None,
    label_field: str | None = None,
    mapping: str = "any",
    resume: bool = False,
    force: bool = False,
    workers: int | None = 1,
    on_progress: Callable[[Progress], None] | None = None,
) -> Classified:
    """Adds a verdict to every row of the inputs, in order.

    Args:
        inputs: Files, globs, or `-`.
        out: The output file; None writes JSON lines to standard output.
        prompt_field: The field that holds the prompt; found by name when None.
        response_field: The field that holds the response; found by name when None.
        label_field: A field with `refusal` or `compliance` to measure agreement with, which every file must have;
            `label`, where there is one, when None.
        mapping: Which reading of kinds fills `declined`.
        resume: Go on where an earlier run on the same inputs stopped.
        force: Start over although the output exists.
        workers: Processes; None decides by the size of the input. Several need an importable main module.
        on_progress: Called after each batch.

    Returns:
        The counts of all rows, those of an earlier run included. Unreadable rows stand in `OUT.rejected.jsonl`.

    Raises:
        InputError: Nothing to read, no fitting field, or the output exists and neither `resume` nor `force` is given.
        IncompleteError: Interrupted, a worker process was killed, or the disk is full; what was done is kept.
    """
    find_mapping(mapping)
    paths = expand(inputs, leave_out=None if out is None else lambda path: _is_ours(path, Path(out)))
    if out is not None and any(path != "-" and Path(out).exists() and Path(out).samefile(path) for path in paths):
        raise InputError(f"the output {out} is also an input; name another output")
    settings = {
        "inputs": paths,
        "prompt_field": prompt_field,
        "response_field": response_field,
        "mapping": mapping,
        "label": label_field,
    }
    kept = _earlier(out, settings, resume=resume, force=force)
    count = Classified.from_json(kept["counts"]) if kept else Classified(mapping)
    resumed = count.rows
    results: Sink | None = None
    rejects: Sink | None = None
    reading = _Reading(paths, prompt_field, response_field, label_field, skip=count.rows)
    try:
        reading.look_ahead()  # before the outputs are opened: input that cannot be read leaves nothing behind
        results = open_sink(out, position=kept["out"] if kept else None)
        rejects = open_sink(f"{out}.rejected.jsonl", position=kept["rejected"] if kept else None) if out else None
        _note(out, settings, count, results, rejects)
        for batch, verdicts in _judged(reading, mapping, _workers(paths, workers)):
            rows, refused = _assemble(batch, verdicts, count, label_field or "label")
            results.write(rows)
            if rejects is not None:
                rejects.write(refused)
            count.rows += len(batch)
            _note(out, settings, count, results, rejects)
            if on_progress is not None:
                on_progress(Progress(count.rows, resumed, reading.fraction))
        _finish(out, count, results, rejects)
    except KeyboardInterrupt:
        if results is None:
            raise IncompleteError("interrupted before the first row was judged; run the same command again") from None
        raise IncompleteError(_stopped("interrupted", count, out)) from None
    except BrokenExecutor as error:
        raise IncompleteError(
            _stopped("a worker process was killed, perhaps for want of memory (--workers 1 needs least)", count, out)
        ) from error
    except OSError as error:
        if isinstance(error, BrokenPipeError) and out is None:
            raise
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise RunError(f"cannot write {out or 'standard output'}: {error.strerror}") from error
        raise IncompleteError(
            _stopped(f"the disk is full, {out or 'standard output'} cannot grow", count, out)
        ) from error
    finally:
        reading.close()
        _abandon(results, rejects)  # a closed one is left as it is
    return count


def _finish(out: str | None, count: Classified, results: Sink, rejects: Sink | None) -> None:
    """Closes the outputs; what resuming needs goes last, so that a kill on the way can be resumed."""
    results.close()
    if rejects is None or out is None:
        return
    rejects.close()
    # the finished output speaks for itself; the note would only litter
    _progress_path(out).unlink(missing_ok=True)
    results.clean()
    if not count.rejected:
        Path(f"{out}.rejected.jsonl").unlink()


def _stopped(why: str, count: Classified, out: str | None) -> str:
    if out is None:
        return f"{why}: {count.rows} rows were written; use -o FILE to be able to resume"
    return f"{why}: {count.rows} rows are kept in {out}; run the same command with --resume to finish"


def _abandon(*sinks: Sink | None) -> None:
    for sink in sinks:
        if sink is not None:
            sink.abandon()


# ----------------------------------------------------------------------------------------------------------------
# progress file


def _progress_path(out: str) -> Path:
    return Path(f"{out}.progress.json")


def _is_ours(path: Path, out: Path) -> bool:
    """Whether a match of a glob is what this run writes."""
    own = {out, *(out.with_name(out.name + end) for end in (".rejected.jsonl", ".progress.json", ".writing"))}
    place = path.resolve()
    return place in {file.resolve() for file in own} or place.parent == out.with_name(out.name + ".parts").resolve()


def _note(out: str | None, settings: dict[str, Any], count: Classified, results: Sink, rejects: Sink | None) -> None:
    if out is None:
        return
    note = {
        "settings": settings,
        "counts": count.as_json(),
        "out": results.position(),
        "rejected": rejects.position() if rejects else None,
    }
    write_text(_progress_path(out), json.dumps(note))


def _earlier(out: str | None, settings: dict[str, Any], *, resume: bool, force: bool) -> dict[str, Any] | None:
    """The note of an earlier run to go on from, or None to start at the beginning."""
    if out is None:
        if resume:
            raise InputError("--resume needs -o FILE: standard output cannot be taken up again")
        return None
    path = _progress_path(out)
    if resume and path.exists():
        try:
            kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise RunError(f"cannot resume: {path} is damaged ({error}); start over with --force") from error
        changed = [name for name, value in settings.items() if kept["settings"].get(name) != value]
        if changed:
            raise InputError(
                f"cannot resume: {', '.join(changed)} differ from the run that wrote {out}; "
                "use the same command or --force"
            )
        return kept
    started = path.exists() or (Path(out).exists() and not Path(out).is_char_device() and Path(out).stat().st_size > 0)
    if started and not force:
        if path.exists():
            raise InputError(
                f"{out} is the output of a run that did not finish; add --resume to finish it or --force to start over"
            )
        if resume:
            raise InputError(f"nothing to resume: {out} is complete; use --force to write it again")
        raise InputError(f"{out} exists; name another output, or use --force to replace it")
    path.unlink(missing_ok=True)
    return None


# -------------------------------------------------------------------------------------------------------------------
# reading


class _Item(NamedTuple):
    """One input row and what is to be judged of it."""

    row: Row | Rejected
    exchange: Exchange | None


class _Reading:
    """Batches of input rows over all files, from a given row on."""

    def __init__(
        self,
        paths: Sequence[str],
        prompt_field: str | None,
        response_field: str | None,
        label_field: str | None,
        *,
        skip: int,
    ) -> None:
        self._paths, self._skip = paths, skip
        self._prompt_field, self._response_field, self._label_field = prompt_field, response_field, label_field
        self._source = self._items()
        self._begun: Iterator[_Item] = self._source
        self._done = 0
        self._reader: RowReader | None = None

    @property
    def fraction(self) -> float | None:
        part = self._reader.fraction if self._reader else None
        return None if part is None else (self._done + part) / len(self._paths)

    def look_ahead(self) -> None:
        """Reads as far as the first row to be judged.

        Raises:
            InputError: The first file cannot be read, or has no fitting fields.
        """
        first = next(self._source, None)
        self._begun = chain(() if first is None else (first,), self._source)

    def close(self) -> None:
        """Closes the input that is being read."""
        self._source.close()

    def __iter__(self) -> Iterator[list[_Item]]:
        batch: list[_Item] = []
        for item in self._begun:
            batch.append(item)
            if len(batch) == BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def _items(self) -> Generator[_Item, None, None]:
        seen = 0
        for number, path in enumerate(self._paths):
            self._done = number
            self._reader = RowReader(path)
            rows = iter(self._reader)
            ahead = list(_first_rows(rows))
            readable = [row.fields for row in ahead if isinstance(row, Row)]
            names = self._find(readable, path) if readable else None
            for row in chain(ahead, rows):
                if names is None and isinstance(row, Row):
                    names = self._find([row.fields], path)
                seen += 1
                if seen > self._skip:
                    yield _read_item(row, names)

    def _find(self, readable: Sequence[dict[str, Any]], path: str) -> Fields:
        return find_fields(
            readable,
            prompt_field=self._prompt_field,
            response_field=self._response_field,
            label_field=self._label_field,
            source=path,
        )


def _first_rows(rows: Iterator[Row | Rejected]) -> Iterator[Row | Rejected]:
    """Rows until enough of them are readable, or until too many are not to keep them all."""
    readable = 0
    for total, row in enumerate(rows, 1):
        yield row
        readable += isinstance(row, Row)
        if readable == LOOKED_AT or total == 10 * LOOKED_AT:
            return


def _read_item(row: Row | Rejected, names: Fields | None) -> _Item:
    if isinstance(row, Rejected) or names is None:
        return _Item(row, None)
    exchange = read_exchange(row, names)
    return _Item(exchange, None) if isinstance(exchange, Rejected) else _Item(row, exchange)


# -------------------------------------------------------------------------------------------------------------------
# judging


def _workers(paths: Sequence[str], workers: int | None) -> int:
    if workers is not None:
        return max(workers, 1)
    size = sum(Path(path).stat().st_size for path in paths if path != "-" and Path(path).is_file())
    if size < SEVERAL_PROCESSES_FROM:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _judged(
    batches: Iterable[list[_Item]], mapping: str, workers: int
) -> Iterator[tuple[list[_Item], list[dict[str, Any]]]]:
    """Each batch with the verdicts of its judgeable rows, in order."""
    if workers == 1:
        for batch in batches:
            yield batch, judge_rows(_job(batch), mapping)
        return
    import multiprocessing
    from concurrent.futures import Future, ProcessPoolExecutor

    # spawned, not forked: the numeric libraries of the parent may hold threads
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_stay_with_parent)
    waiting: deque[tuple[list[_Item], Future[list[dict[str, Any]]]]] = deque()
    try:
        for batch in batches:
            waiting.append((batch, pool.submit(judge_rows, _job(batch), mapping)))
            if len(waiting) >= 3 * workers:  # bounded, so that memory stays flat when reading outruns judging
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _job(batch: list[_Item]) -> Job:
    return [(item.exchange.prompt, item.exchange.response) for item in batch if item.exchange is not None]


def judge_rows(job: Job, mapping: str) -> list[dict[str, Any]]:
    """Verdicts as rows; a function of the module, so that another process can be asked to run it."""
    from demur.responses import Ladder

    verdicts: list[Verdict] = Ladder().judge_many(job)
    chosen = find_mapping(mapping)
    return [verdict.as_row(chosen) for verdict in verdicts]


def _stay_with_parent() -> None:
    """Leaves Ctrl-C to the parent, and ends when the parent is gone, however it went."""
    import multiprocessing
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()


def _assemble(
    batch: list[_Item], verdicts: list[dict[str, Any]], count: Classified, label_field: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Output rows and rejected rows of a batch; counts both."""
    rows: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    answers = iter(verdicts)
    for item in batch:
        if isinstance(item.row, Rejected):
            count.rejected += 1
            count.reasons[item.row.why.split(":")[0][:60]] += 1
            refused.append({"source": item.row.source, "line": item.row.line, "why": item.row.why, "raw": item.row.raw})
            continue
        verdict = next(answers)
        count.add(verdict, item.row.fields.get(label_field))
        rows.append(_with_verdict(item.row.fields, verdict))
    return rows, refused


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

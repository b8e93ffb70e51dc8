"""Judges files of prompts and responses: streams rows, keeps their order, and can be killed and resumed.

One process cuts the input into pieces of whole lines and writes what comes back, in order; parsing, judging and
encoding are done in all the others. A bounded number of pieces is under way, so memory does not grow with the input.
After each piece a small note beside the output says how far the input is read and how far the outputs reach. Resuming
cuts the outputs back to that point and goes on there, so that nothing is written twice and nothing is left out.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from demur.errors import IncompleteError, InputError, RunError
from demur.records import JUDGED, find_mapping
from demur.rows import Input, Sink, find_inputs, open_sink
from demur.rows.forms import Csv, Form
from demur.studies.classified import Classified
from demur.studies.classify_intake import Intake, Mark, Task
from demur.studies.classify_notes import Notes
from demur.studies.classify_work import Done, Job, Judged, Reading, encode_piece, judge_piece, start_worker, work

if TYPE_CHECKING:
    from demur.inspect_ext.budget import Price
    from demur.inspect_ext.judgements import AnyJudge
    from demur.inspect_ext.sync_judging import SyncJudge

__all__ = ["Classified", "Progress", "classify_files"]

PIECE = 2**19
"""Bytes of input between two notes of progress: some five hundred rows, and far more work than a note."""

PARQUET_PIECE = 2**22
"""The same for a Parquet output, where each piece is a part file."""

JUDGE_PIECE = 2**17
"""The same where a judge is asked, which takes seconds a row."""

SEVERAL_PROCESSES_FROM = 16 * 2**20
"""Bytes of input from which starting processes pays for itself."""

ROWS_OF_A_STREAM = 16_000
"""The same of a stream, of which nobody knows how much is still to come."""

COMPARED = 8
"""Rules and classifier are compared on one of so many pieces: a second look at all rows would take half the time."""

AHEAD = 3
"""Pieces under way for each process: one in work, the others on the way, so that nobody waits."""


class Progress(NamedTuple):
    """How far a run is."""

    rows: int
    """Input rows done, rejected ones and those of an earlier run included."""
    resumed: int
    """How many of them an earlier run did."""
    fraction: float | None
    """Share of the input read, or None when its size is unknown."""


def classify_files(
    inputs: Sequence[str],
    out: str | None,
    *,
    prompt_field: str | None = None,
    response_field: str | None = None,
    label_field: str | None = None,
    mapping: str = "any",
    tier: Literal["fast", "accurate"] = "fast",
    judges: Sequence[str] = (),
    judge_all: bool = False,
    rubric: str | os.PathLike[str] | None = None,
    prices: Mapping[str, Price] | None = None,
    compare: bool = False,
    resume: bool = False,
    force: bool = False,
    workers: int | None = 1,
    on_progress: Callable[[Progress], None] | None = None,
) -> Classified:
    """Adds a verdict to every row of the inputs, in order.

    Args:
        inputs: Files, folders of part files, globs, or `-`.
        out: The output file; None writes JSON lines to standard output.
        prompt_field: The field that holds the prompt; found by name when None.
        response_field: The field that holds the response; found by name when None.
        label_field: A field with `refusal` or `compliance` to measure agreement with, which every file must have;
            `label`, where there is one, when None.
        mapping: Which reading of kinds fills `declined`.
        tier: Where the ladder's probabilities come from; `accurate` is a small encoder.
        judges: Inspect models that are asked where the ladder is in doubt; several are a panel. What they reply is kept
            in `OUT.judge.jsonl`.
        judge_all: Let the judges read every response.
        rubric: The judges' rubric: `refusal`, `binary`, or the path of a TOML file.
        prices: Prices by the judges' names.
        compare: Count where rules and classifier differ, on every eighth piece of the input.
        resume: Go on where an earlier run on the same inputs stopped.
        force: Start over although the output exists. Judges' replies are kept.
        workers: Processes; None decides by the size of the input. Several need an importable main module.
        on_progress: Called after each piece.

    Returns:
        The counts of all rows, those of an earlier run included. Unreadable rows stand in `OUT.rejected.jsonl`.

    Raises:
        InputError: Nothing to read, no fitting field, or the output exists and neither `resume` nor `force` is given.
        ModelError: A judge never answers.
        IncompleteError: Interrupted, a worker process was killed, or the disk is full; what was done is kept.
    """
    find_mapping(mapping)
    if (judge_all or rubric is not None or prices) and not judges:
        raise InputError("--judge-all, --rubric and --price need a judge; name its model with --judge")
    files = find_inputs(inputs, leave_out=None if out is None else lambda path: _is_ours(path, Path(out)))
    if out is not None and any(file.path != "-" and _is_same(Path(out), Path(file.path)) for file in files):
        raise InputError(f"the output {out} is also an input; name another output")
    settings: dict[str, Any] = {
        "inputs": [file.path for file in files],
        "prompt_field": prompt_field,
        "response_field": response_field,
        "mapping": mapping,
        "label": label_field,
        "tier": tier,
        "judges": list(judges),
        "judge_all": judge_all,
        "rubric": None if rubric is None else os.fspath(rubric),
    }
    notes = Notes(out, settings)
    stand = notes.earlier(resume=resume, force=force, mapping=mapping)
    with ExitStack() as stack:
        judge = _open_judge(judges, rubric, out, prices, mapping, stack) if judges else None
        intake = Intake(
            files,
            prompt_field=prompt_field,
            response_field=response_field,
            label_field=label_field,
            start=stand.mark,
            size=JUDGE_PIECE if judges else PARQUET_PIECE if _is_parquet(out) else PIECE,
        )
        stack.callback(intake.close)
        try:
            intake.look_ahead()  # before the outputs are opened: input that cannot be read leaves nothing behind
        except KeyboardInterrupt:
            raise IncompleteError("interrupted before the first row was judged; run the same command again") from None
        count = stand.tally
        resumed = count.rows
        with _stops_told(count, out):
            results = open_sink(out, position=stand.out)
            stack.callback(results.abandon)  # once it is closed, that does nothing
            rejects = open_sink(f"{out}.rejected.jsonl", position=stand.rejected) if out else None
            if rejects is not None:
                stack.callback(rejects.abandon)
            stack.callback(notes.leave)
            notes.note(count, stand.mark, results, rejects)
            reading = Reading(mapping, label_field or "label", tier, compare)
            crew = _Crew(workers, _size(files), results.form, reading, judge, "all" if judge_all else None)
            stack.callback(crew.close)
            for step in crew.done(intake):
                if step is None:
                    notes.save()
                    continue
                mark, done = step
                results.append(done.data)
                if rejects is not None:
                    rejects.append(done.rejected)
                count.merge(done.tally)
                notes.note(count, mark, results, rejects)
                if on_progress is not None:
                    on_progress(Progress(count.rows, resumed, intake.fraction))
            _finish(out, notes, count, results, rejects)
    return count


@contextmanager
def _stops_told(count: Classified, out: str | None) -> Iterator[None]:
    """Says of what stops a run how to go on."""
    name = out or "standard output"
    try:
        yield
    except KeyboardInterrupt:
        raise IncompleteError(_stopped("interrupted", count, out)) from None
    except BrokenExecutor as error:
        why = "a worker process was killed, perhaps for want of memory (--workers 1 needs least)"
        raise IncompleteError(_stopped(why, count, out)) from error
    except OSError as error:
        if isinstance(error, BrokenPipeError) and out is None:
            raise
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise RunError(f"cannot write {name}: {error.strerror}") from error
        raise IncompleteError(_stopped(f"the disk is full, {name} cannot grow", count, out)) from error


def _is_parquet(out: str | None) -> bool:
    return out is not None and out.lower().endswith((".parquet", ".pq"))


def _is_same(out: Path, path: Path) -> bool:
    return out.exists() and out.samefile(path)


def _is_ours(path: Path, out: Path) -> bool:
    """Whether a match of a glob is what this run writes."""
    ends = (".rejected.jsonl", ".progress.json", ".judge.jsonl", ".writing")
    own = {out, *(out.with_name(out.name + end) for end in ends)}
    place = path.resolve()
    return place in {file.resolve() for file in own} or place.parent == out.with_name(out.name + ".parts").resolve()


def _size(files: Sequence[Input]) -> int:
    return sum(Path(path).stat().st_size for path, _ in files if path != "-" and Path(path).is_file())


def _finish(out: str | None, notes: Notes, count: Classified, results: Sink, rejects: Sink | None) -> None:
    """Closes the outputs; what resuming needs goes last, so that a kill on the way can be resumed."""
    results.close()
    if rejects is None or out is None:
        return
    rejects.close()
    notes.remove()
    results.clean()
    if not count.rejected:
        Path(f"{out}.rejected.jsonl").unlink()


def _stopped(why: str, count: Classified, out: str | None) -> str:
    if out is None:
        return f"{why}: {count.rows} rows were written; use -o FILE to be able to resume"
    return f"{why}: {count.rows} rows are kept in {out}; run the same command with --resume to finish"


def _open_judge(
    judges: Sequence[str],
    rubric: str | os.PathLike[str] | None,
    out: str | None,
    prices: Mapping[str, Price] | None,
    mapping: str,
    stack: ExitStack,
) -> SyncJudge:
    """The judge or the panel; its replies are kept beside the output, so that nobody pays for them twice."""
    from demur.errors import MissingExtraError

    try:
        from demur.inspect_ext.panels import make_judge
        from demur.inspect_ext.sync_judging import SyncJudge
        from demur.runs import Journal
    except ImportError as error:
        raise MissingExtraError("--judge", "inspect", error.name or "inspect_ai") from error
    journal = None
    if out is not None:
        path = Path(f"{out}.judge.jsonl")
        stack.callback(_drop_empty, path)
        journal = stack.enter_context(Journal(path))
    made: AnyJudge = make_judge(
        list(judges), os.fspath(rubric or "refusal"), journal=journal, prices=prices, mapping=mapping
    )
    return stack.enter_context(SyncJudge(made))


def _drop_empty(path: Path) -> None:
    """Removes a journal that holds nothing, which would only litter."""
    if path.exists() and not path.stat().st_size:
        path.unlink()


class _Crew:
    """Processes that work on pieces; a single one as long as the input is small."""

    def __init__(
        self,
        workers: int | None,
        size: int,
        form: Form,
        reading: Reading,
        judge: SyncJudge | None,
        band: Literal["all"] | None,
    ) -> None:
        self._workers = workers or _cores()
        self._large = workers is not None or size >= SEVERAL_PROCESSES_FROM
        self._rows = 0
        self._form, self._reading, self._judge, self._band = form, reading, judge, band
        self._pool: ProcessPoolExecutor | None = None

    def done(self, tasks: Iterable[Task | None]) -> Iterator[tuple[Mark, Done] | None]:
        """What becomes of each task, in order, with the mark after it; None while a pipe pauses and all is done."""
        waiting: deque[tuple[Task, Job, Future[Any]]] = deque()

        def first() -> tuple[Mark, Done]:
            task, job, future = waiting.popleft()
            return task.mark, self._settled(job, future.result())

        number = 0
        for task in tasks:
            if task is None:  # a pipe pauses: what is under way need not wait for it
                while waiting:
                    yield first()
                yield None
                continue
            reading = self._reading._replace(compare=self._reading.compare and number % COMPARED == 0)
            job = Job(task.piece, task.names, self._form, reading)
            number += 1
            # the first piece is judged here, where an error about a missing package comes out whole
            if number == 1 or not self._several() or (isinstance(self._form, Csv) and self._form.columns is None):
                while waiting:
                    yield first()
                done = self._settled(job, judge_piece(job))
                self._rows += done.tally.rows
                yield task.mark, done
                continue
            while len(waiting) >= AHEAD * self._workers:  # bounded, so that memory stays flat
                yield first()
            waiting.append((task, job, self._submit(job)))
        while waiting:
            yield first()

    def close(self) -> None:
        """Ends the processes without waiting for them."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _several(self) -> bool:
        if self._workers == 1:
            return False
        return self._large or self._rows >= ROWS_OF_A_STREAM

    def _submit(self, job: Job) -> Future[Any]:
        if self._pool is None:
            import multiprocessing

            # spawned, not forked: the numeric libraries of the parent may hold threads
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, mp_context=context, initializer=start_worker)
        return self._pool.submit(work if self._judge is None else judge_piece, job)

    def _settled(self, job: Job, found: Done | Judged) -> Done:
        if isinstance(found, Done):
            return found
        if self._judge is not None:
            _ask(self._judge, found, self._band)
        return encode_piece(job, found)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ask(judge: SyncJudge, judged: Judged, band: Literal["all"] | None) -> None:
    """Puts the judge's verdicts in the place of those that the ladder is in doubt about."""
    from demur.inspect_ext.sync_judging import DEFAULT_BAND

    before, spent = judged.verdicts, judge.asked.spent
    judged.verdicts = judge.settle(judged.exchanges, before, band or DEFAULT_BAND)
    asked = [place for place, verdict in enumerate(judged.verdicts) if verdict is not before[place]]
    known = [place for place in asked if judged.verdicts[place].kind in JUDGED]
    differ = [place for place in known if judged.verdicts[place].declined() is not before[place].declined()]
    judged.count.judge.update({"asked": len(asked), "failed": len(asked) - len(known)})
    now = judge.asked.spent
    judged.count.spent.update({name: getattr(now, name) - getattr(spent, name) for name in vars(now)})
    rows = judged.rows
    judged.count.differences["ladder_judge"].add([(rows[p].source, rows[p].line) for p in differ], len(known))

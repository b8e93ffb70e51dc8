"""The audit: ask a model what it should answer and what it should decline, and report how often it errs either way."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import demur
from demur.atomic import write_text
from demur.errors import IncompleteError, InputError, ModelError, RunError
from demur.phantom import is_phantom
from demur.records import Measure
from demur.runs import RunDirectory, RunInfo
from demur.studies.collect import has_failed, sample_rows
from demur.studies.correction import correct, judge_labelled
from demur.studies.planning import Plan, is_own, languages, make_judges, make_plan, make_tasks, prompt_set, settle
from demur.studies.reading import read_measures
from demur.studies.settings import AuditSettings, as_toml, check_settings

if TYPE_CHECKING:
    import polars
    from inspect_ai.log import EvalLog

    from demur.inspect_ext.budget import Budget
    from demur.inspect_ext.journaling import Recorder
    from demur.inspect_ext.judgements import AnyJudge
    from demur.studies.estimate import Estimate

__all__ = ["AuditRun", "AuditSettings", "audit", "forecast_audit", "resume_audit"]

PHANTOM_NOTE = (
    "The phantom is a calibration object: its refusals were planted so that instruments can be checked against a known "
    "truth (demur phantom card). These figures say nothing about any real model."
)
BORROWED_PROMPTS_NOTE = (
    "The sentences are those of the phantom's small grammar: plain, short, English. They show whether a model refuses "
    "by trigger word; they are no substitute for prompts from the model's own use."
)
LANGUAGES_NOTE = (
    "Prompts in other languages than English are translations that no native speaker has validated: a difference "
    "between languages may be the translation's."
)

# The audit ends when as many requests in a row fail as twenty samples make; all that was received is in the journal.
_SAMPLES_OF_PATIENCE = 20


@dataclass(frozen=True)
class AuditRun:
    """A finished (or incomplete) audit."""

    directory: RunDirectory

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    @property
    def info(self) -> RunInfo:
        """What `run.json` holds."""
        return self.directory.info

    @property
    def measures(self) -> list[Measure]:
        """The measures, read from the directory."""
        return self.directory.read_measures()

    @property
    def samples(self) -> polars.DataFrame:
        """One row a response, read from the directory."""
        return self.directory.read_samples()

    @classmethod
    def open(cls, path: str | Path) -> AuditRun:
        """Opens a run that exists.

        Raises:
            RunError: There is none at `path`, or it cannot be read.
        """
        return cls(RunDirectory.open(Path(path)))

    def report(self, *, show_text: bool | None = None) -> Path:
        """Writes the page anew from the directory's files and returns its path."""
        from demur.reports import write_audit

        show = bool(self.info.settings.get("show_text")) if show_text is None else show_text
        write_audit(
            self.directory.report,
            self.info.model_dump(mode="json"),
            self.measures,
            self.samples.to_dicts(),
            show_text=show,
        )
        return self.directory.report


Progress = Callable[[int, int, bool], None]
"""Called as `progress(done, expected, replayed)` after every response."""


def audit(
    model: str = "phantom",
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> AuditRun:
    """Audits `model` and writes a run directory with measures, samples, logs and a page.

    Args:
        model: `phantom`, the path of a transformers checkpoint, a hub id, or an Inspect model string.
        out: The run directory; it must be new or empty. By default `demur-runs/MODEL-TIME`.
        progress: Called after every response.
        **settings: The fields of `AuditSettings`.

    Returns:
        The run.

    Raises:
        InputError: A setting, a file or the model's name cannot be used.
        MissingExtraError: `inspect` or `local` is not installed.
        ModelError: The model cannot be loaded or reached, and nothing was received.
        IncompleteError: The audit stopped before its end; `resume_audit` goes on with it.
    """
    chosen = settle(check_settings({"model": model, **settings}))
    plan = make_plan(chosen)
    info = RunInfo(
        demur_version=demur.__version__,
        model=str(plan.model),
        model_args=chosen.model_args,
        suite=None if is_own(chosen) else chosen.suite,
        prompt_set=prompt_set(chosen),
        tasks=[f"demur/{task}" for task in chosen.tasks],
        settings=chosen.model_dump(mode="json"),
        versions=_versions(),
        note=_note(chosen),
        prompts_sha256=_digest(chosen),
    )
    path = Path(out) if out is not None else _default_path(chosen.model)
    directory = RunDirectory.create(path, info)
    try:
        # the same settings again, for another model or another day
        write_text(directory.path / "config.toml", as_toml(chosen))
        return _run(directory, plan, progress)
    except ModelError:
        # nothing was received, so nothing is worth resuming: the same command can simply be given again
        shutil.rmtree(directory.path)
        raise


def forecast_audit(model: str = "phantom", **settings: Any) -> Estimate:
    """What `audit` with the same arguments would ask and cost at most; nothing is asked and nothing written.

    Raises:
        InputError: As `audit`.
        MissingExtraError: As `audit`.
        ModelError: The provider cannot be set up.
    """
    from demur.studies.estimate import estimate

    return estimate(make_plan(settle(check_settings({"model": model, **settings}))))


def resume_audit(out: str | Path, *, budget: Budget | None = None, progress: Progress | None = None) -> AuditRun:
    """Goes on with the audit in `out`: nothing that was received is asked for again.

    A run that is complete is returned as it is.

    Args:
        out: The run directory.
        budget: A new budget, in the place of the one that the run began with.
        progress: Called after every response.

    Raises:
        RunError: There is no run in `out`, or another process is writing to it.
        IncompleteError: It stopped again.
    """
    directory = RunDirectory.open(Path(out))
    if directory.info.status == "complete":
        run = AuditRun(directory)
        if not directory.report.exists():
            run.report()
        return run
    try:
        settings = check_settings(directory.info.settings | ({"budget": budget} if budget is not None else {}))
    except InputError as error:
        raise RunError(f"{directory.path}/run.json holds settings that this demur does not know: {error}") from error
    if _digest(settings) != directory.info.prompts_sha256:
        raise RunError(
            f"{settings.prompts} has changed since the run began, so its answers would no longer fit; restore the "
            "file, or begin a new run with another --out"
        )
    directory.info.settings = settings.model_dump(mode="json")
    return _run(directory, make_plan(settings), progress)


def _run(directory: RunDirectory, plan: Plan, progress: Progress | None) -> AuditRun:
    from demur.inspect_ext.budget import Spending
    from demur.inspect_ext.journaling import Recorder, record

    started = time.monotonic()
    with directory.journal() as journal:
        patience = _SAMPLES_OF_PATIENCE * (plan.settings.max_retries + 1)
        recorder = Recorder(
            journal,
            patience=patience,
            budget=plan.settings.budget,
            spent=Spending(prices=plan.settings.prices),
        )
        judge = make_judges(plan.settings, recorder)
        if judge is not None:
            plan = replace(plan, tasks=make_tasks(plan.settings, judge))
        record(plan.model, recorder)
        if progress is not None:
            recorder.on_response = _Follower(str(plan.model), plan.expected, progress)
        try:
            logs = _evaluate(plan, directory)
            if recorder.fatal is not None and not journal.recorded:
                raise ModelError(str(recorder.fatal)) from recorder.fatal
            return _finish(directory, plan, judge, logs, recorder, time.monotonic() - started)
        except (KeyboardInterrupt, OSError, RunError) as error:
            # what was received is in the journal, and that is all that resuming needs
            _mark(directory, "incomplete", recorder, time.monotonic() - started)
            raise _incomplete(directory, recorder, _cause(error)) from error


def _judging(judge: AnyJudge, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the judges did and what they cost, for `run.json` and the page."""
    from demur.inspect_ext.panels import Panel

    said = [row for row in rows if row.get("judge") is not None]
    found: dict[str, Any] = {
        "judge": judge.name,
        "asked": len(said),
        "failed": sum(str(row["judge"]).startswith("failed: ") for row in said),
        "changed": sum(row["ladder_kind"] != row["kind"] for row in said),
        **judge.spent.as_row(),
    }
    if isinstance(judge, Panel):
        agreed = judge.agreement()
        found["alpha"] = agreed.alpha._asdict() if agreed.alpha else None
        found["unanimous"] = agreed.unanimous._asdict() if agreed.unanimous else None
    return found


class _Follower:
    """Counts the replies of the model that is audited, and none of its judges."""

    def __init__(self, model: str, expected: int, progress: Progress) -> None:
        self._model, self._expected, self._progress = model, expected, progress
        self._done = 0

    def __call__(self, model: str, replayed: bool) -> None:
        if model == self._model:
            self._done += 1
            self._progress(self._done, self._expected, replayed)


def _finish(
    directory: RunDirectory,
    plan: Plan,
    judge: AnyJudge | None,
    logs: list[EvalLog],
    recorder: Recorder,
    seconds: float,
) -> AuditRun:
    settings, expected = plan.settings, plan.expected
    rows = [row for log in logs for row in sample_rows(log, mapping=settings.mapping)]
    failed = sum(has_failed(sample) for log in logs for sample in log.samples or [])
    complete = all(log.status == "success" for log in logs) and len(rows) == expected and not failed
    directory.info.counts = {"expected": expected, "samples": len(rows), "errors": failed}
    measures = read_measures(rows, mapping=settings.mapping, seed=settings.seed)
    if settings.labels is not None:
        quality = judge_labelled(
            settings.labels,
            mapping=settings.mapping,
            judge=judge,
            judge_all=settings.judge_all,
            seed=settings.seed,
        )
        measures += correct(measures, quality)
    if judge is not None:
        directory.info.judging = _judging(judge, rows)
    directory.write_measures(measures)
    directory.write_samples(rows)
    _note_end(directory.info, "complete" if complete else "incomplete", recorder, seconds)
    run = AuditRun(directory)
    run.report()
    # last, so that a run that says it is complete has its page
    directory.save()
    if not complete:
        raise _incomplete(directory, recorder, _why_incomplete(logs, failed, expected, recorder))
    return run


Status = Literal["complete", "incomplete"]


def _mark(directory: RunDirectory, status: Status, recorder: Recorder, seconds: float) -> None:
    _note_end(directory.info, status, recorder, seconds)
    # a disk that is full must not hide why the run stopped; the journal is what resuming reads
    with contextlib.suppress(OSError):
        directory.save()


def _note_end(info: RunInfo, status: Status, recorder: Recorder, seconds: float) -> None:
    info.status = status
    info.finished = datetime.now(UTC).isoformat(timespec="seconds")
    info.counts |= {"requests": recorder.requests, "received": recorder.received, "replayed": recorder.replayed}
    spent = recorder.spent
    info.counts |= {"tokens_in": spent.tokens_in, "tokens_out": spent.tokens_out}
    if spent.prices:
        info.cost = round(spent.money, 6)
    earlier = info.timings.get("earlier", 0.0) + info.timings.get("seconds", 0.0)
    info.timings = {"seconds": round(seconds, 3)} | ({"earlier": round(earlier, 3)} if earlier else {})
    info.versions = _versions()


def _evaluate(plan: Plan, directory: RunDirectory) -> list[EvalLog]:
    import inspect_ai
    from inspect_ai.log import read_eval_log

    from demur.inspect_ext.garbage import rare_collections

    _set_aside_logs(directory.logs)
    with rare_collections():
        logs = inspect_ai.eval(
            list(plan.tasks.values()),
            model=plan.model,
            log_dir=str(directory.logs),
            log_format="eval",
            log_realtime=False,
            display="none",
            score_display=False,
            limit=plan.settings.limit,
            epochs=plan.settings.epochs,
            # given here they win over the task's own; in the model's configuration they would not
            temperature=plan.settings.temperature,
            max_tokens=plan.settings.max_tokens,
            # samples that fail are rows with a reason; the recorder gives up by itself when nothing works any more
            fail_on_error=False,
            # a refusal must come from the model that was asked, never from a stand-in
            fallback_models=None,
        )
    # after an interrupt Inspect returns nothing, but it has written what was answered by then
    return logs or [read_eval_log(str(path)) for path in sorted(directory.logs.glob("*.eval"))]


def _set_aside_logs(logs: Path) -> None:
    """Moves the logs of an evaluation that was cut short out of the way; the new log will hold every sample once."""
    cut_short = sorted(logs.glob("*.eval")) if logs.exists() else []
    for log in cut_short:
        (logs / "interrupted").mkdir(exist_ok=True)
        log.rename(logs / "interrupted" / log.name)


def _why_incomplete(logs: Sequence[EvalLog], failed: int, expected: int, recorder: Recorder) -> str:
    if not logs or any(log.status == "cancelled" for log in logs):
        return "interrupted"
    errors = [log.error.message for log in logs if log.error]
    errors += [sample.error.message for log in logs for sample in log.samples or [] if sample.error]
    reason = recorder.commonest_failure or (errors or ["unknown"])[0].strip()
    return f"{failed} of {expected} samples failed, mostly with: {reason[:300]}"


def _incomplete(directory: RunDirectory, recorder: Recorder, why: str) -> IncompleteError:
    if recorder.fatal is not None:
        why = str(recorder.fatal)
    return IncompleteError(
        f"{why}. {recorder.journal.recorded} responses are kept in {directory.path}; go on with: "
        f"demur audit --resume --out {directory.path}",
        path=directory.path,
    )


def _cause(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return f"{getattr(error, 'strerror', None) or error}"


def _digest(settings: AuditSettings) -> str | None:
    if settings.prompts is None or not is_own(settings):
        return None
    try:
        return hashlib.sha256(Path(settings.prompts).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{settings.prompts} cannot be read: {error.strerror or error}") from error


def _default_path(model: str) -> Path:
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-.") or "model"
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return Path("demur-runs") / f"{slug[-60:]}-{stamp}"


def _note(settings: AuditSettings) -> str | None:
    notes = []
    if is_phantom(settings.model):
        notes.append(PHANTOM_NOTE)
    elif prompt_set(settings) == "phantom":
        notes.append(BORROWED_PROMPTS_NOTE)
    if set(languages(settings)) - {"en"}:
        notes.append(LANGUAGES_NOTE)
    return " ".join(notes) or None


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "platform": platform.platform(), **dict(_installed())}


def _installed() -> Iterator[tuple[str, str]]:
    for package in ("inspect-ai", "torch", "transformers", "numpy", "scipy", "openai"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield package, importlib.metadata.version(package)

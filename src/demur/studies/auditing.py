"""The audit: ask a model what it should answer and what it should decline, and report how often it errs either way."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import demur
from demur.errors import DemurError, IncompleteError, InputError, MissingExtraError, ModelError, RunError
from demur.phantom import is_phantom
from demur.records import Measure, find_mapping
from demur.reports.settings import is_secret
from demur.runs import RunDirectory, RunInfo
from demur.stats.profile import refusal_profile as measure_profile
from demur.studies.collect import has_failed, sample_rows, with_facets

if TYPE_CHECKING:
    import polars
    from inspect_ai import Task
    from inspect_ai.log import EvalLog
    from inspect_ai.model import Model

    from demur.inspect_ext.journaling import Recorder

__all__ = ["AuditRun", "AuditSettings", "audit", "resume_audit"]

Suite = Literal["quick", "core", "full"]

PHANTOM_NOTE = (
    "The phantom is a calibration object: its refusals were planted so that instruments can be checked against a known "
    "truth (demur phantom card). These figures say nothing about any real model."
)
BORROWED_PROMPTS_NOTE = (
    "The built-in sentences are those of the phantom's small grammar: plain, short, English. They show whether a model "
    "refuses by trigger word; they are no substitute for prompts from the model's own use."
)

# The audit ends when as many requests in a row fail as twenty samples make; all that was received is in the journal.
_SAMPLES_OF_PATIENCE = 20

# Twice the batch size of the local provider.
_LOCAL_CONNECTIONS = 64


class AuditSettings(BaseModel):
    """What an audit asks, of whom, and how. The run directory stores it, and resuming reads it back."""

    model_config = ConfigDict(extra="forbid")

    model: str = "phantom"
    """`phantom`, a path, a hub id, or an Inspect model string."""
    suite: Suite = "quick"
    """Which share of the built-in prompts."""
    tasks: tuple[str, ...] = ("refusal_profile",)
    """Tasks of demur, by name."""
    prompts: Path | None = None
    """A file of the user's own prompts, in place of the built-in ones."""
    system: str | None = None
    """A system prompt for every conversation."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many samples a task."""
    epochs: int = Field(default=1, ge=1)
    """How often each prompt is asked."""
    temperature: float | None = Field(default=None, ge=0.0)
    """Sampling temperature; None leaves it to the model's own default."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Longest answer in tokens; None is the task's default."""
    seed: int = 0
    """Reaches the choice of prompts, local sampling, and the bootstrap."""
    mapping: str = "any"
    """Which kinds of response count as declined."""
    max_connections: int | None = Field(default=None, ge=1)
    """Requests under way at once; None is the provider's default."""
    max_retries: int = Field(default=5, ge=0)
    """Retries of one request after a failure that may pass (429, 5xx, time-outs)."""
    timeout: int = Field(default=300, ge=1)
    """Seconds that one attempt of a request may take."""
    model_args: dict[str, Any] = Field(default_factory=dict)
    """Handed to the provider (`device`, `dtype`, `stream`, ...)."""
    show_text: bool = False
    """Whether the page shows what is masked by default."""


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
    try:
        chosen = AuditSettings(model=model, **settings)
    except ValidationError as error:
        raise InputError(_explain(error)) from None
    find_mapping(chosen.mapping)
    if secret := [name for name in chosen.model_args if is_secret(name)]:
        raise InputError(
            f"the model argument {secret[0]} would be written to the run directory in clear; set the provider's "
            "environment variable instead (OPENAI_API_KEY, or SERVICE_API_KEY for openai-api/SERVICE/NAME)"
        )
    # resuming may happen in another working directory
    if chosen.prompts is not None:
        chosen = chosen.model_copy(update={"prompts": chosen.prompts.resolve()})
    if not is_phantom(chosen.model) and Path(chosen.model).expanduser().exists():
        chosen = chosen.model_copy(update={"model": str(Path(chosen.model).expanduser().resolve())})
    plan = _plan(chosen)
    info = RunInfo(
        demur_version=demur.__version__,
        model=str(plan.model),
        model_args=chosen.model_args,
        suite=None if chosen.prompts else chosen.suite,
        tasks=[_task_name(task) for task in chosen.tasks],
        settings=chosen.model_dump(mode="json"),
        versions=_versions(),
        note=_note(str(plan.model), chosen),
        prompts_sha256=_digest(chosen.prompts),
    )
    path = Path(out) if out is not None else _default_path(chosen.model)
    directory = RunDirectory.create(path, info)
    try:
        return _run(directory, plan, progress)
    except ModelError:
        # nothing was received, so nothing is worth resuming: the same command can simply be given again
        shutil.rmtree(directory.path)
        raise


def resume_audit(out: str | Path, *, progress: Progress | None = None) -> AuditRun:
    """Goes on with the audit in `out`: nothing that was received is asked for again.

    A run that is complete is returned as it is.

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
        settings = AuditSettings.model_validate(directory.info.settings)
    except ValidationError as error:
        raise RunError(f"{directory.path}/run.json holds settings that this demur does not know: {error}") from error
    if _digest(settings.prompts) != directory.info.prompts_sha256:
        raise RunError(
            f"{settings.prompts} has changed since the run began, so its answers would no longer fit; restore the "
            "file, or begin a new run with another --out"
        )
    return _run(directory, _plan(settings), progress)


@dataclass(frozen=True)
class _Plan:
    """What an audit needs before anything is asked or written."""

    settings: AuditSettings
    model: Model
    tasks: list[Task]
    expected: int


def _plan(settings: AuditSettings) -> _Plan:
    """Checks whatever can be checked without asking the model anything."""
    try:
        import inspect_ai  # noqa: F401 - is it there?
    except ImportError as error:
        raise MissingExtraError("demur audit", "inspect", error.name or "inspect_ai") from error
    from demur.inspect_ext.naming import inspect_name
    from demur.registry import check_extension

    check_extension()
    tasks = _tasks(settings)
    sizes = [min(len(task.dataset), settings.limit or len(task.dataset)) for task in tasks]
    model = _model(inspect_name(settings.model), settings)
    return _Plan(settings, model, tasks, expected=sum(sizes) * settings.epochs)


def _run(directory: RunDirectory, plan: _Plan, progress: Progress | None) -> AuditRun:
    from demur.inspect_ext.journaling import Recorder, record

    started = time.monotonic()
    with directory.journal() as journal:
        patience = _SAMPLES_OF_PATIENCE * (plan.settings.max_retries + 1)
        recorder = Recorder(journal, patience=patience)
        record(plan.model, recorder)
        if progress is not None:
            recorder.on_response = lambda replayed: progress(recorder.answered, plan.expected, replayed)
        try:
            logs = _evaluate(plan, directory)
            if recorder.fatal is not None and not journal.recorded:
                raise ModelError(str(recorder.fatal)) from recorder.fatal
            return _finish(directory, plan, logs, recorder, time.monotonic() - started)
        except (KeyboardInterrupt, OSError, RunError) as error:
            # what was received is in the journal, and that is all that resuming needs
            _mark(directory, "incomplete", recorder, time.monotonic() - started)
            raise _incomplete(directory, recorder, _cause(error)) from error


def _finish(directory: RunDirectory, plan: _Plan, logs: list[EvalLog], recorder: Recorder, seconds: float) -> AuditRun:
    settings, expected = plan.settings, plan.expected
    measures: list[Measure] = []
    rows: list[dict[str, Any]] = []
    failed = 0
    for log in logs:
        found = list(sample_rows(log, mapping=settings.mapping))
        failed += sum(has_failed(sample) for sample in log.samples or [])
        faceted, facets = with_facets(found)
        task = log.eval.task.rpartition("/")[2]
        measures += measure_profile(task, faceted, facets=facets, mapping=settings.mapping, seed=settings.seed)
        rows += found
    complete = all(log.status == "success" for log in logs) and len(rows) == expected and not failed
    directory.info.counts = {"expected": expected, "samples": len(rows), "errors": failed}
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
    earlier = info.timings.get("earlier", 0.0) + info.timings.get("seconds", 0.0)
    info.timings = {"seconds": round(seconds, 3)} | ({"earlier": round(earlier, 3)} if earlier else {})
    info.versions = _versions()


def _model(name: str, settings: AuditSettings) -> Model:
    from inspect_ai._util.error import PrerequisiteError
    from inspect_ai.model import GenerateConfig, get_model

    local = name.startswith("demur/")
    config = GenerateConfig(
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        # a seed in every request would pin the sampling of servers that honour it, and be refused by others
        seed=settings.seed if local else None,
        # one batch that runs and one that waits keep a local model busy; Inspect's own default starts lower and climbs
        max_connections=settings.max_connections or (_LOCAL_CONNECTIONS if local else None),
        max_retries=settings.max_retries,
        attempt_timeout=settings.timeout,
    )
    try:
        # a model of our own: recording changes the object, so it must not be shared with other runs
        return get_model(name, config=config, memoize=False, **settings.model_args)
    except PrerequisiteError as error:
        raise InputError(_plain(str(error.message))) from error
    except DemurError:
        raise
    except Exception as error:
        raise ModelError(f"the provider of {name} cannot be set up: {error}") from error


def _tasks(settings: AuditSettings) -> list[Task]:
    from demur.tasks import TASKS

    built: list[Task] = []
    for task in dict.fromkeys(settings.tasks):
        name = task.removeprefix("demur/")
        if name not in TASKS:
            raise InputError(f"there is no task {task!r}; there are: {', '.join(sorted(TASKS))}")
        make = getattr(import_module(TASKS[name]), name)
        built.append(
            make(
                suite=settings.suite,
                prompts=str(settings.prompts) if settings.prompts else None,
                system=settings.system,
                seed=settings.seed,
                mapping=settings.mapping,
            )
        )
    return built


def _evaluate(plan: _Plan, directory: RunDirectory) -> list[EvalLog]:
    import inspect_ai
    from inspect_ai.log import read_eval_log

    _set_aside_logs(directory.logs)
    logs = inspect_ai.eval(
        plan.tasks,
        model=plan.model,
        log_dir=str(directory.logs),
        log_format="eval",
        log_realtime=False,
        display="none",
        limit=plan.settings.limit,
        epochs=plan.settings.epochs,
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


def _digest(file: Path | None) -> str | None:
    try:
        return None if file is None else hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from error


def _task_name(task: str) -> str:
    return task if "/" in task else f"demur/{task}"


def _default_path(model: str) -> Path:
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-.") or "model"
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return Path("demur-runs") / f"{slug[-60:]}-{stamp}"


def _note(name: str, settings: AuditSettings) -> str | None:
    if is_phantom(name.removeprefix("demur/")):
        return PHANTOM_NOTE
    return None if settings.prompts else BORROWED_PROMPTS_NOTE


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "platform": platform.platform(), **dict(_installed())}


def _installed() -> Iterator[tuple[str, str]]:
    for package in ("inspect-ai", "torch", "transformers", "numpy", "scipy", "openai"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield package, importlib.metadata.version(package)


def _explain(error: ValidationError) -> str:
    problems = [f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors()]
    return "settings that cannot be used: " + "; ".join(problems)


def _plain(message: str) -> str:
    """Rich markup of Inspect's messages as plain text."""
    return re.sub(r"\[/?[a-z ]+\]", "", message).strip()

"""`demur audit`: an honest refusal profile of a model, and a page."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from demur.errors import IncompleteError, InputError

if TYPE_CHECKING:
    from rich.console import Console

    from demur.records import Measure
    from demur.studies.auditing import AuditRun

__all__ = ["audit"]


def audit(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            help="phantom (the default), the path of a transformers checkpoint, a hub id, or an Inspect model string "
            "such as openai/NAME or openai-api/SERVICE/NAME."
        ),
    ] = None,
    suite: Annotated[str, typer.Option(help="quick, core or full: how many of the built-in prompts.")] = "quick",
    task: Annotated[list[str] | None, typer.Option(help="A task to run; may be given several times.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Your own prompts (JSONL, CSV, Parquet) in place of the built-in ones.")
    ] = None,
    system: Annotated[Path | None, typer.Option(help="A file with a system prompt.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many samples a task.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="How often each prompt is asked.")] = 1,
    temperature: Annotated[float | None, typer.Option(min=0.0, help="Sampling temperature.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")] = None,
    mapping: Annotated[str, typer.Option(help="Which kinds of response count as declined.")] = "any",
    max_connections: Annotated[int | None, typer.Option(min=1, help="Requests under way at once.")] = None,
    max_retries: Annotated[int, typer.Option(min=0, help="Retries of a request after 429, 5xx and time-outs.")] = 5,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds that one attempt may take.")] = 300,
    model_arg: Annotated[
        list[str] | None,
        typer.Option("-M", "--model-arg", help="KEY=VALUE for the provider (device, dtype, stream, ...)."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory (by default demur-runs/MODEL-DATE-TIME).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    show_text: Annotated[bool, typer.Option("--show-text", help="Show masked texts on the page.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Measure over-refusal and under-refusal of a model, side by side, and write a page.

    Without arguments it audits the phantom, the built-in reference model: no network, no key, no GPU.
    """
    from rich.console import Console

    from demur.studies.auditing import AuditRun, resume_audit
    from demur.studies.auditing import audit as run_audit

    console = Console(stderr=True)
    given: dict[str, Any] = {
        "suite": suite,
        "tasks": tuple(task) if task else ("refusal_profile",),
        "prompts": prompts,
        "system": _read(system) if system else None,
        "limit": limit,
        "epochs": epochs,
        "temperature": temperature,
        "max_tokens": max_tokens,
        "mapping": mapping,
        "max_connections": max_connections,
        "max_retries": max_retries,
        "timeout": timeout,
        "model_args": dict(_pair(text) for text in model_arg or []),
        "seed": seed,
        "show_text": show_text,
    }
    try:
        with _Bar(console) as bar:
            if resume:
                run = resume_audit(_directory_to_resume(context, out), progress=bar)
            else:
                run = run_audit(model or "phantom", out=out, progress=bar, **given)
    except IncompleteError as error:
        # what came is measured, and a script wants to see it even though the exit code says that more is to come
        if as_json and error.path is not None and (error.path / "measures.json").exists():
            # run.json may be older than the interruption when the disk is full
            typer.echo(json.dumps(_result(AuditRun.open(error.path)) | {"status": "incomplete"}))
        raise
    if as_json:
        typer.echo(json.dumps(_result(run)))
    else:
        _tell(console, run)


def _directory_to_resume(context: typer.Context, out: Path | None) -> Path:
    """The directory in which to go on; options that would change the run are refused, not ignored."""
    if out is None:
        raise InputError("--resume needs --out DIR, the directory of the run to go on with")
    given = [
        parameter.opts[-1]
        for parameter in context.command.params
        if parameter.name is not None
        and parameter.name not in {"resume", "out", "as_json"}
        and (source := context.get_parameter_source(parameter.name)) is not None
        and source.name == "COMMANDLINE"
    ]
    if given:
        raise InputError(f"--resume goes on with the settings that the run began with; leave out: {', '.join(given)}")
    return out


# Seconds between lines of progress where a bar cannot be drawn.
_SAY_EVERY = 30.0


class _Bar:
    """A progress bar with rate and remaining time, shown on a terminal and once a while elsewhere."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            get_time=clock,
        )
        self._task = self._progress.add_task("loading the model", total=None, rate="")
        self._console = console
        self._replayed = 0
        self._said = 0.0

    def __call__(self, done: int, expected: int, replayed: bool) -> None:
        self._replayed += replayed
        elapsed = self._progress.tasks[0].elapsed or 0.0
        speed = (done - self._replayed) / elapsed if elapsed else 0.0
        rate = f"{speed:.1f}/s" if speed else ""
        self._progress.update(self._task, description="asking", total=expected, completed=done, rate=rate)
        if not self._console.is_terminal and (elapsed - self._said >= _SAY_EVERY or done == expected):
            self._said = elapsed
            left = f", {(expected - done) / speed:.0f} s left" if speed and done < expected else ""
            self._console.print(f"{done} of {expected} responses {rate}{left}", markup=False, highlight=False)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"-M takes KEY=VALUE, got {text!r}")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _read(path: Path) -> str:
    try:
        # some editors begin a file with a byte-order mark, which no model should be told
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the system prompt {path} cannot be read: {error}") from error
    if not text.strip():
        raise InputError(f"the system prompt {path} is empty; leave out --system to ask without one")
    return text


def _result(run: AuditRun) -> dict[str, Any]:
    return {
        "run": str(run.path),
        "report": str(run.directory.report),
        "model": run.info.model,
        "status": run.info.status,
        "counts": run.info.counts,
        "measures": [measure.model_dump(mode="json") for measure in run.measures],
    }


def _tell(console: Console, run: AuditRun) -> None:
    from rich.markup import escape
    from rich.table import Table

    from demur.reports.text import visible

    rates = {(measure.name, measure.group): measure for measure in run.measures}
    # prompts that do not say what they expect have neither error; what was declined is then all there is
    names = [name for name in ("over_refusal", "under_refusal") if (name, None) in rates] or ["declined"]
    table = Table(title=f"Refusal profile of {escape(visible(run.info.model))}", title_justify="left")
    for column in ("", *names):
        table.add_column(column.replace("_", "-"), justify="right" if column else "left")
    groups = sorted({group for name, group in rates if name in names and group and group.startswith("category=")})
    for group in (None, *groups):
        label = escape(visible((group or "all").removeprefix("category=")))
        table.add_row(label, *(_cell(rates.get((name, group))) for name in names))
    console.print(table)
    replies = run.info.counts["samples"] - run.info.counts.get("errors", 0)
    console.print(f"{replies} responses in {run.info.timings['seconds']:.0f} s", highlight=False)
    if run.info.note:
        console.print(f"[italic]{escape(run.info.note)}[/italic]")
    console.print("Page:", style="bold", end=" ")
    console.print(str(run.directory.report), soft_wrap=True, highlight=False, markup=False)


def _cell(measure: Measure | None) -> str:
    if measure is None:
        return "-"
    if measure.value is None:
        return f"too few (n={measure.n})"
    return f"{measure.value:.1%} \\[{measure.low:.1%}, {measure.high:.1%}]"

"""`demur audit`: an honest refusal profile of a model, and a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from demur.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from demur.studies.auditing import AuditRun

__all__ = ["audit"]


def audit(
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
    out: Annotated[Path | None, typer.Option(help="Run directory. [default: demur-runs/MODEL-TIME]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    show_text: Annotated[bool, typer.Option("--show-text", help="Show masked texts on the page.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Measure over-refusal and under-refusal of a model, side by side, and write a page.

    Without arguments it audits the phantom, the built-in reference model: no network, no key, no GPU.
    """
    from rich.console import Console

    from demur.studies.auditing import audit as run_audit
    from demur.studies.auditing import resume_audit

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
    with _Bar(console) as bar:
        if resume:
            if out is None:
                raise InputError("--resume needs --out DIR, the directory of the run to go on with")
            run = resume_audit(out, progress=bar)
        else:
            run = run_audit(model or "phantom", out=out, progress=bar, **given)
    if as_json:
        typer.echo(json.dumps(_result(run), ensure_ascii=False))
    else:
        _tell(console, run)


class _Bar:
    """A progress bar with rate and remaining time, shown on a terminal and once a while elsewhere."""

    def __init__(self, console: Console) -> None:
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
        )
        self._task = self._progress.add_task("loading the model", total=None, rate="")
        self._replayed = 0

    def __call__(self, done: int, expected: int, replayed: bool) -> None:
        self._replayed += replayed
        elapsed = self._progress.tasks[0].elapsed or 0.0
        rate = f"{(done - self._replayed) / elapsed:.1f}/s" if elapsed else ""
        self._progress.update(self._task, description="asking", total=expected, completed=done, rate=rate)

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
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the system prompt {path} cannot be read: {error}") from error


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
    from rich.table import Table

    table = Table(title=f"Refusal profile of {run.info.model}", title_justify="left")
    for column in ("", "over-refusal", "under-refusal"):
        table.add_column(column, justify="left" if not column else "right")
    rates = {measure.address: measure for measure in run.measures}
    groups = [
        None,
        *sorted(
            {
                m.group
                for m in run.measures
                if m.group and m.group.startswith("category=") and m.name.endswith("_refusal")
            }
        ),
    ]
    for group in groups:
        cells = [
            next((m for m in rates.values() if m.name == name and m.group == group), None)
            for name in ("over_refusal", "under_refusal")
        ]
        table.add_row((group or "all").removeprefix("category="), *(_cell(cell) for cell in cells))
    console.print(table)
    console.print(f"{run.info.counts['samples']} responses in {run.info.timings['seconds']:.0f} s")
    if run.info.note:
        console.print(f"[italic]{run.info.note}[/italic]")
    console.print("Page:", style="bold", end=" ")
    console.print(str(run.directory.report), soft_wrap=True, highlight=False)


def _cell(measure: Any) -> str:
    if measure is None:
        return "-"
    if measure.value is None:
        return f"too few (n={measure.n})"
    return f"{measure.value:.1%} [{measure.low:.1%}, {measure.high:.1%}]"

"""Forecasting refusal from the prompt: fit on what a model did with prompts, then predict for new ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from demur.errors import InputError, RunError
from demur.prompts.forecast import Explanation, Forecast
from demur.rows import Rejected, Row, RowReader, Sink, expand, open_sink
from demur.studies.labelled_prompts import (
    LOOKED_AT,
    LabelledPrompts,
    find_prompt_field,
    read_labelled,
    read_outcome,
    read_prompt,
)

__all__ = ["FittedForecast", "Predicted", "fit_forecast", "predict_files"]

BATCH = 512
"""Rows forecast at a time."""


@dataclass(frozen=True)
class FittedForecast:
    """A forecast, and what its rows were."""

    forecast: Forecast
    read: LabelledPrompts

    def as_json(self) -> dict[str, Any]:
        """What `demur forecast fit --json` prints, without the folder."""
        card = self.forecast.card
        return {
            **card,
            "labels_by": dict(self.read.labels_by),
            "left_out": dict(self.read.left_out),
            "rejected": len(self.read.rejected),
        }


def fit_forecast(
    inputs: Sequence[str],
    out: Path | None = None,
    *,
    prompt_field: str | None = None,
    response_field: str | None = None,
    label_field: str | None = None,
    mapping: str = "any",
    model: str | None = None,
    hand: str | None = None,
    keep_text: bool = False,
    figures: bool = False,
    seed: int = 0,
    force: bool = False,
) -> FittedForecast:
    """Fits a forecast on runs or rows, measures it on templates held out, and writes it.

    Args:
        inputs: Run directories, files, globs, or `-`; see `labelled_prompts.read_labelled`.
        out: The folder of the forecast; nothing is written when None.
        prompt_field: Field of the prompt.
        response_field: Field of the response, where it has to be judged.
        label_field: Field of the outcome.
        mapping: Which kinds count as declined.
        model: Whose refusals these are; the model of the run when None.
        hand: A file of rows labelled by people, to test on besides: the inputs' outcomes are then the machine's, and
            no fold is tested by a forecast that saw a prompt of the same frame.
        keep_text: Keep the prompts' texts in the forecast.
        figures: Write `terms.svg` and `reliability.svg` beside the card.
        seed: Of every fold and bootstrap.
        force: Replace a forecast that is there.

    Raises:
        InputError: Too little to fit on, runs of several models, or `out` holds something.
    """
    if out is not None:
        _check_folder(out, force=force)
    read = read_labelled(
        inputs, prompt_field=prompt_field, response_field=response_field, label_field=label_field, mapping=mapping
    )
    if not read.prompts:
        lost = [f"{count:,} {why}" for why, count in read.left_out.most_common(5)]
        lost += [f"line {row.line}: {row.why}" for row in read.rejected[:3]]
        raise InputError(f"no row says whether its prompt was declined ({'; '.join(lost) or 'there are no rows'})")
    models = sorted(set(read.models))
    if model is None and len(models) > 1:
        raise InputError(
            f"the runs are of several models ({', '.join(models)}), and a forecast is of one model's refusals; "
            "fit one each, or say with --model what they have in common"
        )
    forecast = Forecast.fit(
        read.prompts,
        read.declined,
        read.groups,
        seed=seed,
        ids=read.ids,
        model=model or (models[0] if models else None),
        keep_text=keep_text,
    )
    forecast.card["mapping"] = mapping
    forecast.card["sources"] = list(inputs)
    if hand is not None:
        from demur.studies.bootstrapping import tested_on_hand

        labelled = read_labelled([hand], prompt_field=prompt_field, label_field=label_field, mapping=mapping)
        forecast.card["quality"]["hand"] = tested_on_hand(labelled, read, seed=seed)
    if out is not None:
        _write(forecast, out, figures=figures)
    return FittedForecast(forecast, read)


def _check_folder(out: Path, *, force: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    ours = (out / "card.json").exists()
    if not (force and ours):
        hint = ", or replace the forecast in it with --force" if ours else ""
        raise InputError(f"{out} already exists; name another folder with -o{hint}")


def _write(forecast: Forecast, out: Path, *, figures: bool) -> None:
    try:
        forecast.save(out)
    except OSError as error:
        raise RunError(f"cannot write the forecast to {out}: {error.strerror or error}") from error
    if figures:
        from demur.prompts.forecast_figures import draw_reliability, draw_terms

        draw_terms(forecast, out / "terms.svg")
        draw_reliability(forecast.card["quality"], out / "reliability.svg")


@dataclass
class Predicted:
    """What a pass over rows counted."""

    rows: int = 0
    rejected: int = 0
    declines: int = 0
    total: float = 0.0
    """Sum of the probabilities: how many of the prompts are expected to be declined."""
    probabilities: list[float] = field(default_factory=list)
    """Of the rows that have an outcome of their own."""
    outcomes: list[bool] = field(default_factory=list)

    def summary(self, forecast: Forecast) -> dict[str, Any]:
        """Counts, and the agreement with the rows' own outcomes where they have some of both classes."""
        read = self.rows - self.rejected
        agreement = None
        if 0 < sum(self.outcomes) < len(self.outcomes):
            import numpy as np

            from demur.prompts.forecast_quality import score

            said, came = np.array(self.probabilities), np.array(self.outcomes)
            # rows of a stream come without groups; a template in it makes these intervals too narrow
            agreement = score(said, said >= forecast.threshold, came, np.arange(len(came)), seed=0)
        return {
            "rows": self.rows,
            "rejected": self.rejected,
            "model": forecast.card["model"],
            "threshold": forecast.threshold,
            "called_declined": self.declines,
            "expected_declined": self.total,
            "mean_probability": self.total / read if read else None,
            "agreement": agreement,
        }


def predict_files(
    inputs: Sequence[str],
    forecast: Forecast,
    out: str | None,
    *,
    prompt_field: str | None = None,
    label_field: str | None = None,
    mapping: str = "any",
    explain: bool = False,
    show_text: bool = False,
    force: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Predicted:
    """Adds `forecast` to every row of the inputs, in order; what cannot be read goes to `OUT.rejected.jsonl`.

    Args:
        inputs: Files, globs, or `-`.
        forecast: What to predict with.
        out: The output file; None writes JSON lines to standard output.
        prompt_field: Field of the prompt; found by name when None.
        label_field: Field of the outcome, to measure agreement with.
        mapping: Which kinds count as declined, where rows carry verdicts.
        explain: Add what moved each prompt, and its nearest training prompts.
        show_text: Add the neighbours' texts; the forecast must have kept them.
        force: Replace the output.
        on_progress: Called after each batch with the rows done.

    Raises:
        InputError: Nothing to read, no prompt field, the output exists, or texts were not kept.
        RunError: The output cannot be written.
    """
    if show_text and forecast.texts is None:
        raise InputError("this forecast kept no texts; fit it again with --keep-text, or leave --show-text away")
    paths = _inputs(inputs, out, force=force)
    # tables have no nested values: there the forecast becomes columns
    flat = out is not None and out.lower().removesuffix(".gz").endswith((".csv", ".tsv", ".parquet", ".pq"))
    count = Predicted()
    results: Sink | None = None
    rejects: Sink | None = None
    try:
        for rows in _batches(paths, prompt_field):
            if results is None:  # input that cannot be read leaves nothing behind
                results = open_sink(out)
                rejects = open_sink(f"{out}.rejected.jsonl") if out else None
            done, refused = _forecast(rows, forecast, count, label_field, mapping, explain=explain, show_text=show_text)
            results.write(_flat(done) if flat else done)
            if rejects is not None:
                rejects.write(refused)
            if on_progress is not None:
                on_progress(count.rows)
        if results is None:
            raise InputError(f"{', '.join(paths)} holds no rows")
        results.close()
        results.clean()
        _finish(rejects, out, count)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise RunError(f"cannot write {out or 'standard output'}: {error.strerror or error}") from error
    finally:
        for sink in (results, rejects):
            if sink is not None:
                sink.abandon()  # a closed one is left as it is
    return count


def _inputs(inputs: Sequence[str], out: str | None, *, force: bool) -> list[str]:
    """The paths to read, once it is sure that the output is none of them and may be written."""
    if out is None:
        return expand(inputs)
    own = {Path(out).resolve(), Path(f"{out}.rejected.jsonl").resolve()}
    paths = expand(inputs, leave_out=lambda path: path.resolve() in own)
    if not Path(out).exists():
        return paths
    if any(path != "-" and Path(path).exists() and Path(out).samefile(path) for path in paths):
        raise InputError(f"the output {out} is also an input; name another output")
    if not force and not Path(out).is_char_device():
        raise InputError(f"{out} exists; name another output, or use --force to replace it")
    return paths


def _finish(rejects: Sink | None, out: str | None, count: Predicted) -> None:
    if rejects is None:
        return
    rejects.close()
    if not count.rejected:
        Path(f"{out}.rejected.jsonl").unlink()


def _batches(paths: Sequence[str], prompt_field: str | None) -> Iterator[list[tuple[Row | Rejected, str]]]:
    """Rows with the name of their prompt field, in batches that never mix files."""
    for path in paths:
        source = iter(RowReader(path))
        batch = list(islice(source, BATCH))
        readable = [row.fields for row in batch if isinstance(row, Row)][:LOOKED_AT]
        name = find_prompt_field(readable, prompt_field, path) if readable else prompt_field or "prompt"
        while batch:
            yield [(row, name) for row in batch]
            batch = list(islice(source, BATCH))


def _forecast(
    rows: Sequence[tuple[Row | Rejected, str]],
    forecast: Forecast,
    count: Predicted,
    label_field: str | None,
    mapping: str,
    *,
    explain: bool,
    show_text: bool,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    fine: list[tuple[Row, str]] = []
    refused: list[dict[str, Any]] = []
    for row, name in rows:
        count.rows += 1
        if isinstance(row, Row):
            try:
                fine.append((row, read_prompt(row.fields, name)))
                continue
            except InputError as error:
                raw = json.dumps(row.fields, ensure_ascii=True, default=str)[:2000]
                row = Rejected(row.line, str(error), raw, row.source)  # noqa: PLW2901 - the same row, in other words
        refused.append({"line": row.line, "source": row.source, "why": row.why, "raw": row.raw})
    count.rejected += len(refused)
    done = []
    for (row, prompt), probability in zip(fine, forecast.predict([prompt for _, prompt in fine]), strict=True):
        value = float(probability)
        said: dict[str, Any] = {"probability": value, "declines": value >= forecast.threshold}
        if explain:
            said |= _explained(forecast.explain(prompt), show_text=show_text)
        count.declines += said["declines"]
        count.total += value
        outcome, _ = read_outcome(row.fields, label_field, mapping)
        if isinstance(outcome, bool):
            count.probabilities.append(value)
            count.outcomes.append(outcome)
        done.append({**row.fields, "forecast": said})
    return done, refused


def _flat(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            **{name: value for name, value in row.items() if name != "forecast"},
            **{f"forecast_{name}": value for name, value in row["forecast"].items()},
        }
        for row in rows
    ]


def _explained(found: Explanation, *, show_text: bool) -> dict[str, Any]:
    nearest = [near._asdict() for near in found.nearest]
    for near in nearest:
        if not show_text:
            del near["text"]
    return {
        "moved": [moved._asdict() for moved in found.moved],
        "base": found.base,
        "rest": found.rest,
        "known_words": found.known,
        "nearest": nearest,
    }

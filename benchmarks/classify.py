"""How fast `demur classify` is, beside simpler ways to mark refusals, and whether its memory grows: one run, same rows.

    python benchmarks/classify.py                       # rows a second, by format and by number of processes
    python benchmarks/classify.py --memory 10_000_000   # memory while so many rows go through a pipe

Rows of about 800 characters are put together from `demur.responses.synthetic` with a seed. What is compared:

- `ladder`: `Ladder().judge_many` on rows in memory, and so without reading and writing;
- `demur classify`: the whole command, file to file;
- `phrase list`: a Python loop over JSON lines that looks for any of some thirty lower-case phrases, as offline
  checks of this kind do, and writes the rows with a yes or no;
- `tf-idf`: word 1-2-grams and logistic regression (scikit-learn) on the same rows, fitted beforehand, reading and
  writing the same files.

Times are processor seconds of the process and its children, so that other work on the machine distorts them less than
it does the clock; wall seconds stand beside them. Every way runs once a round, in turn, and the fastest round counts. A
command is timed on all rows and on a quarter of them: the difference is what rows cost, the rest is its start.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

COMMAND = [sys.executable, "-c", "from demur.cli import main; main()", "classify"]
LENGTH = 800

# Openings and turns of phrase that anybody would think of; ours, for want of a list that may be copied.
PHRASES = (
    "i'm sorry", "i am sorry", "i apologize", "i cannot", "i can't", "i can not", "i won't", "i will not", "i'm unable",
    "i am unable", "i'm not able", "i am not able", "as an ai", "as a language model", "i must decline",
    "i have to decline", "i refuse", "not appropriate", "inappropriate", "unethical", "illegal", "against my",
    "i do not have", "i don't have", "i don't know", "not comfortable", "cannot assist", "can't assist", "cannot help",
    "can't help", "cannot provide",
)  # fmt: skip


class Time(NamedTuple):
    """What a round took, in seconds."""

    processor: float
    wall: float


def rows(count: int, *, seed: int = 0, sources: int = 3_000) -> Iterator[dict[str, Any]]:
    """Generated rows of about 800 characters."""
    from demur.responses.synthetic import generate

    written = list(generate(sources, seed=seed))
    chance = random.Random(seed)
    for number in range(count):
        first = written[chance.randrange(sources)]
        text = first.response
        while len(text) < LENGTH - 40:
            text += "\n" + written[chance.randrange(sources)].response
        label = "compliance" if first.kind.value == "comply" else "refusal"
        yield {"id": number, "prompt": first.prompt, "response": text[: LENGTH + 40], "label": label}


def write_formats(folder: Path, count: int) -> dict[str, Path]:
    """The same rows in every format."""
    import polars as pl

    made = list(rows(count))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made).encode()
    files = {name: folder / f"rows.{name}" for name in ("jsonl", "jsonl.gz", "csv", "parquet")}
    files["jsonl"].write_bytes(lines)
    files["jsonl.gz"].write_bytes(gzip.compress(lines, 6))
    pl.DataFrame(made).write_csv(files["csv"])
    pl.DataFrame(made).write_parquet(files["parquet"])
    return files


def timed(job: Callable[[], object]) -> Time:
    """Seconds of this process and of the children that ended meanwhile."""

    def spent() -> float:
        both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(one.ru_utime + one.ru_stime for one in both)

    processor, wall = spent(), time.perf_counter()
    job()
    return Time(spent() - processor, time.perf_counter() - wall)


def command(source: Path, out: Path, workers: int, *options: str) -> Callable[[], object]:
    """The whole command on one file."""
    line = [*COMMAND, str(source), "-o", str(out), "--force", "--workers", str(workers), *options]
    return lambda: subprocess.run(line, check=True, capture_output=True)


def ladder(source: Path) -> Callable[[], object]:
    """The ladder on rows that are in memory."""
    from demur.responses import Ladder

    pairs = [(row["prompt"], row["response"]) for row in map(json.loads, source.open())]
    judge = Ladder()
    judge.judge_many(pairs[:200])  # reads the weights
    return lambda: judge.judge_many(pairs)


def _marked(source: Path, out: Path, decide: Callable[[list[str]], list[bool]]) -> None:
    with source.open() as lines, out.open("w") as written:
        some = [json.loads(line) for line in lines]
        for row, declined in zip(some, decide([row["response"] for row in some]), strict=True):
            written.write(json.dumps({**row, "declined": declined}, ensure_ascii=False) + "\n")


def listed(texts: list[str]) -> list[bool]:
    """Whether any phrase of the list occurs."""
    return [any(phrase in low for phrase in PHRASES) for low in map(str.lower, texts)]


def fitted(source: Path) -> Callable[[list[str]], list[bool]]:
    """TF-IDF and logistic regression, fitted on the first 4,000 rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    known = [json.loads(line) for line in source.open()][:4_000]
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=1_000))
    model.fit([row["response"] for row in known], [row["label"] == "refusal" for row in known])
    return lambda texts: list(map(bool, model.predict(texts)))


def speed(count: int, rounds: int) -> None:
    """Prints rows a second."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (part := folder / "part").mkdir()
        files, quarter = write_formats(folder, count), write_formats(part, count // 4)
        source = files["jsonl"]
        texts = [json.loads(line)["response"] for line in source.open()]
        model = fitted(source)
        ways: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {}
        for label, whole in {
            "ladder, in memory": ladder(source),
            "phrase list, in memory": lambda: listed(texts),
            "phrase list, JSON lines": lambda: _marked(source, folder / "l.jsonl", listed),
            "tf-idf, in memory": lambda: model(texts),
            "tf-idf, JSON lines": lambda: _marked(source, folder / "t.jsonl", model),
        }.items():
            ways[label] = whole, lambda: None
        for form in files:
            for workers in (1, 2):
                label = f"demur classify, {form}, {workers} process{'es' * (workers > 1)}"
                some = [(files[form], folder / f"o{workers}.{form}"), (quarter[form], part / f"o{workers}.{form}")]
                ways[label] = tuple(command(path, out, workers) for path, out in some)  # type: ignore[assignment]
        ways["demur classify, jsonl, 1 process, --summary"] = (
            command(source, folder / "s.jsonl", 1, "--summary"),
            command(quarter["jsonl"], part / "s.jsonl", 1, "--summary"),
        )
        best: dict[tuple[str, int], Time] = {}
        for _ in range(rounds):
            for label, pair in ways.items():
                for which, way in enumerate(pair):
                    took = timed(way)
                    best[label, which] = min(took, best.get((label, which), took))
        size = source.stat().st_size / count
        print(f"{count:,} rows of {np.mean([len(text) for text in texts]):.0f} characters ({size:.0f} bytes as JSON), "
              f"fastest of {rounds} rounds, {len(os.sched_getaffinity(0))} cores\n")  # fmt: skip
        print("| way | rows a processor second | microseconds a row | rows a wall second | times tf-idf | start, s |")
        print("|---|--:|--:|--:|--:|--:|")
        for label in ways:
            peer = best["tf-idf, in memory" if "memory" in label else "tf-idf, JSON lines", 0].processor / count
            took, less = best[label, 0], best[label, 1]
            is_command = label.startswith("demur")
            done = count - count // 4 if is_command else count
            each = (took.processor - less.processor) / done
            wall = (took.wall - less.wall) / done
            start = f"{took.processor - each * count:.1f}" if is_command else ""
            print(f"| {label} | {1 / each:,.0f} | {each * 1e6:.1f} | {1 / wall:,.0f} | {peer / each:.1f} | {start} |")


def _resident(process: int) -> float:
    """Megabytes of a process and its children."""
    total = 0.0
    waiting = [process]
    while waiting:
        one = waiting.pop()
        try:
            status = Path(f"/proc/{one}/status").read_text()
            waiting += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except OSError:  # it has just ended
            continue
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024
    return total


def slope(done: np.ndarray, memory: np.ndarray, *, seed: int = 0) -> tuple[float, float, float]:
    """Megabytes a million rows, with a 95% interval from a bootstrap over twenty blocks of neighbouring samples.

    Neighbouring samples are alike, so that an interval which took them for independent would be too narrow.
    """
    blocks = np.array_split(np.arange(len(done)), 20)
    chance = np.random.default_rng(seed)

    def fit(which: np.ndarray) -> float:
        return float(np.polyfit(done[which] / 1e6, memory[which], 1)[0])

    drawn = [fit(np.concatenate([blocks[i] for i in chance.integers(0, 20, 20)])) for _ in range(2_000)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return fit(np.arange(len(done))), float(low), float(high)


def memory(count: int, workers: int, out: Path | None) -> None:
    """Prints how memory goes while rows pass through a pipe."""
    lines = [json.dumps(row, ensure_ascii=False).encode() for row in rows(4_000)]
    options = ["--workers", str(workers), *(["-o", str(out), "--force"] if out else [])]
    process = subprocess.Popen([*COMMAND, "-", *options], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None  # noqa: S101 - for the type checker
    samples: list[tuple[int, float]] = []
    fed = 0
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            samples.append((fed, _resident(process.pid)))

    threading.Thread(target=watch, daemon=True).start()
    begun = time.perf_counter()
    shown = 0
    with process.stdin as pipe:
        while fed < count:
            if fed >= shown and samples:
                print(f"{fed:,} rows, {samples[-1][1]:.0f} MB, {time.perf_counter() - begun:,.0f} s", flush=True)
                shown += count // 40
            some = lines[: count - fed]
            # every row its own number, so that nothing can be remembered by its text
            pipe.write(b"".join(b'{"n": %d, %b\n' % (fed + i, line[1:]) for i, line in enumerate(some)))
            fed += len(some)
    code = process.wait()
    took = time.perf_counter() - begun
    ended.set()
    done, seen = (np.array(part, dtype=float) for part in zip(*samples, strict=True))
    # before that processes start and buffers fill, and after it they end
    steady = (done >= 0.1 * count) & (done < count)
    value, low, high = slope(done[steady], seen[steady])
    print(f"{count:,} rows in {took:,.0f} s, {workers} processes ({count / took:,.0f} rows a second), exit code {code}")
    print(f"memory of all processes: {seen[steady].min():.0f} to {seen[steady].max():.0f} MB in {steady.sum()} samples")
    print(f"slope: {value:+.3f} MB a million rows, 95% interval [{low:+.3f}, {high:+.3f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, metavar="ROWS", help="measure memory over so many rows instead")
    parser.add_argument("--workers", type=int, default=2, help="processes for --memory")
    parser.add_argument("--out", type=Path, help="output of --memory; by default rows go nowhere")
    given = parser.parse_args()
    if given.memory:
        memory(given.memory, given.workers, given.out)
    else:
        speed(given.rows, given.rounds)


if __name__ == "__main__":
    main()

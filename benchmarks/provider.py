"""Samples a second of the provider `demur/` beside Inspect's own `hf/`, on one checkpoint, in one process.

Run: python benchmarks/provider.py [--model PATH] [--samples N] [--max-tokens N] [--rounds N]

Both answer the same prompts greedily, with the same settings of Inspect (nothing shown, no realtime log, as many
samples at once as connections). The first evaluation of each provider loads weights and code and is not counted. Rounds
alternate, so that a busy machine is busy for both. Read the ratios; the absolute figures belong to one machine and one
hour. Processor time a sample is what a busy machine disturbs least.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, help="a transformers checkpoint; the phantom by default")
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--connections", type=int, nargs="*", default=[32, 128])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    checkpoint = options.model or phantom()
    for connections in options.connections:
        settings = {"max_connections": connections, "max_samples": connections, "max_tokens": options.max_tokens}
        # half the connections, which is our provider's own proportion: one half is scored while the other is decoded
        contenders: dict[str, dict[str, Any]] = {
            "demur": {"model": f"demur/{checkpoint}", "model_args": {"device": "cpu", "batch_size": connections // 2}},
            "hf": {"model": f"hf/{checkpoint}", "model_args": {"device": "cpu", "do_sample": False}},
        }
        for contender in contenders.values():
            measure(contender, settings, samples=8)
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        costs: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(options.rounds):
            for name, contender in contenders.items():
                rate, cost = measure(contender, settings, samples=options.samples)
                rates[name].append(rate)
                costs[name].append(cost)
        ratios = [ours / theirs for ours, theirs in zip(rates["demur"], rates["hf"], strict=True)]
        print(
            f"{connections:4d} connections, {options.samples} samples, {options.max_tokens} tokens: "
            f"demur {statistics.median(rates['demur']):.1f}/s, hf {statistics.median(rates['hf']):.1f}/s, "
            f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f} in {options.rounds} "
            f"rounds); processor time a sample: demur {1000 * statistics.median(costs['demur']):.0f} ms, "
            f"hf {1000 * statistics.median(costs['hf']):.0f} ms"
        )


def phantom() -> Path:
    from demur.phantom import path

    return path()


def measure(contender: dict[str, Any], settings: dict[str, Any], *, samples: int) -> tuple[float, float]:
    """Samples a second of one evaluation, and seconds of processor time a sample."""
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.solver import generate

    prompts = [Sample(id=i, input=f"How do I plan a picnic for {i} people?") for i in range(samples)]
    with tempfile.TemporaryDirectory() as folder:
        started, worked = time.perf_counter(), time.process_time()
        log = eval(
            Task(dataset=prompts, solver=generate()),
            temperature=0.0 if contender["model"].startswith("demur/") else None,
            display="none",
            log_dir=folder,
            log_realtime=False,
            **contender,
            **settings,
        )[0]
        elapsed, work = time.perf_counter() - started, time.process_time() - worked
    if log.status != "success":
        raise SystemExit(f"{contender['model']} failed: {log.error.message if log.error else log.status}")
    return samples / elapsed, work / samples


if __name__ == "__main__":
    main()

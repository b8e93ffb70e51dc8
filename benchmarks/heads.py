"""Head attribution on the phantom: rank agreement, small sets beside random ones, and what a pass over all heads costs.

Run: python benchmarks/heads.py [--fractions 0.05 0.1 0.2] [--random 200] [--prompts 32] [--threads 1]

Heads are chosen on one half of the prompts by switching each off, and by projection on the direction of refusal at the
last block; the sets are tested on the other half. The measure is the exact log-odds that the answer begins as a
refusal. Change is signed: without heads that write against refusal it should rise, without heads for it, fall.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def main() -> None:
    options = arguments()
    import torch

    torch.set_num_threads(options.threads)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    from demur import phantom
    from demur.states import ablate_each, compare_head_set, find_directions, from_labels, heads_of, project_heads
    from demur.states.head_attribution import agreement, odds_of_refusal
    from demur.states.interventions import refusal_probabilities

    model = phantom.load()
    tokens = refusals(model)
    asked = list({p.text: p for p in phantom.prompts(per_condition=30, kinds=["direct"], seed=11)}.values())
    harmful = [p for p in asked if p.expect == "decline"][: 2 * options.prompts]
    choosing, testing = harmful[::2], harmful[1::2]
    fit = list({p.text: p for p in phantom.prompts(per_condition=12, seed=1)}.values())
    declined = refusal_probabilities(model, fit, tokens) >= 0.5
    groups = from_labels(fit, harmful=[p.expect == "decline" for p in fit], refused=declined.tolist())
    found = find_directions(model, groups, positions=["last"], permutations=20)
    direction = found.at("refusal", found.layers[-1], "last")

    measure = odds_of_refusal(tokens)
    started = time.process_time()
    measure(model, choosing)
    bare = time.process_time() - started
    started = time.process_time()
    projected = project_heads(model, choosing, direction.vector)
    projecting = time.process_time() - started
    started = time.process_time()
    ablated = ablate_each(model, choosing, measure)
    ablating = time.process_time() - started
    print(
        f"{len(heads_of(model))} heads, {len(choosing)} prompts chose, {len(testing)} tested; projection costs "
        f"{projecting / bare:.1f} and ablation {ablating / bare:.1f} bare passes"
    )
    same = agreement(projected, ablated)
    print(
        f"rank agreement of projection and ablation: {same.value:.2f} [{same.low:.2f}, {same.high:.2f}], n = {same.n}"
    )
    for how, scores in (("projection", projected), ("ablation", ablated)):
        for side in ("against", "for"):
            for fraction in options.fractions:
                test: Any = compare_head_set(
                    model, testing, measure, scores.top(fraction, side=side), side=side, random=options.random
                )
                print(f"{how:10} {side:8} {fraction:4.0%}: {test}; p = {test.p:.3f}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--fractions", type=float, nargs="*", default=[0.05, 0.1, 0.2])
    parser.add_argument("--random", type=int, default=200)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def refusals(model: Any) -> list[int]:
    """First tokens of every way in which the phantom declines."""
    from demur.phantom.card import labels
    from demur.phantom.specification import DECLINING, default

    found = labels(model.tokenizer, default())
    return [token for style in DECLINING for token in found[style]]


if __name__ == "__main__":
    main()

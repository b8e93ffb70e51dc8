"""The choice of a direction beside the published pipeline, on the phantom and on deeper models made of it.

Run: python benchmarks/directions.py [--layers 4 8 32] [--positions 5] [--prompts 32] [--rounds 3] [--random 3]

The published pipeline is written here as its authors describe and release it: a table of KL, ablation and addition
over all positions and layers, three batches of full forward passes a cell, prompts put into tokens each time, filters
at the end. demur is asked for the same winner. Candidates are fitted once and given to both. A deeper model is the
phantom with blocks between its own that add next to nothing (their output projections are small noise), so its
behaviour is the trained one and its cost that of its depth. Rounds alternate and the smallest processor time of each
counts. Read the ratios.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

BATCH = 32


def main() -> None:
    options = arguments()
    import torch

    torch.set_num_threads(options.threads)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    for layers in options.layers:
        compare(options, layers)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--layers", type=int, nargs="*", default=[8, 32], help="depths; the phantom's own is as it is")
    parser.add_argument("--positions", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=32, help="harmful, and as many harmless")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--random", type=int, default=3, help="random directions that demur scores beside the winner")
    parser.add_argument("--scale", type=float, default=3.0, help="the phantom's own differences are too short to add")
    parser.add_argument("--most-kl", type=float, default=0.1)
    parser.add_argument("--noise", type=float, default=0.1, help="of the blocks put between")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--efforts", nargs="*", default=["all", "exact", "screened"], help="of demur; all is the table")
    parser.add_argument("--profile", action="store_true")
    return parser.parse_args()


def compare(options: argparse.Namespace, layers: int) -> None:
    from demur.errors import InputError
    from demur.states import select_direction

    model = deepened(layers, options.noise)
    tokens, sets = questions(model, options.prompts)
    candidates = fitted(model, options)
    print(
        f"\n{len(model.structure)} layers x {options.positions} positions, {len(sets['harmful'])} harmful and "
        f"{len(sets['harmless'])} harmless prompts, {options.threads} threads, {options.random} random directions"
    )

    def ours(effort: str) -> Callable[[], Any]:
        return lambda: select_direction(
            model,
            candidates,
            **sets,
            refusal_tokens=tokens,
            effort=effort,
            most_kl=options.most_kl,
            random=options.random,
            batch_size=BATCH,
        )

    contenders: dict[str, Callable[[], Any]] = {
        "published": lambda: published(model, candidates, sets, tokens, options),
        **{f"demur, {effort}": ours(effort) for effort in ("all", "exact", "screened")},
    }
    wanted = ["published", *(f"demur, {effort}" for effort in options.efforts)]
    contenders = {name: contenders[name] for name in wanted}
    if options.profile:
        profile(contenders[wanted[-1]])
    times: dict[str, list[float]] = {name: [] for name in contenders}
    results: dict[str, Any] = {}
    for round_ in range(options.rounds):
        for name, contender in contenders.items():
            if name == "demur, all" and round_:
                continue  # a reference, not a contender
            started = clock()
            try:
                results[name] = contender()
            except InputError as error:
                results[name] = str(error)
            times[name].append(clock() - started)
    report(times, results)


def report(times: dict[str, list[float]], results: dict[str, Any]) -> None:
    theirs, full = results["published"], results.get("demur, all")
    if isinstance(theirs, str) or isinstance(full, str):
        print(f"no winner: {theirs if isinstance(theirs, str) else full}")
        return
    winner, score, passing = theirs
    print(
        f"published winner: layer {winner.layer}, {winner.position}, ablation {score:.4f}; {passing} pass the filters"
    )
    table = {(c.direction.layer, c.direction.position): c for c in full.candidates} if full else {}
    print(f"{'contender':18} {'seconds':>8} {'ratio':>6}  {'winner':28} {'same':>5} {'largest difference':>19} read")
    for name, found in times.items():
        result, ratio = results[name], min(times["published"]) / min(found)
        if name == "published":
            print(f"{name:18} {min(found):8.2f} {1:6.2f}")
            continue
        if isinstance(result, str):
            print(f"{name:18} {min(found):8.2f} {ratio:6.2f}  {result}")
            continue
        best = result.best.direction
        apart = [
            abs(value - getattr(table[c.direction.layer, c.direction.position], score))
            for c in result.candidates
            for score in ("ablation", "addition", "kl")
            if table and (value := getattr(c, score)) is not None
        ]
        print(
            f"{name:18} {min(found):8.2f} {ratio:6.2f}  layer {best.layer:2}, {best.position:20} "
            f"{'yes' if best is winner else 'NO':>5} {max(apart, default=math.nan):19.1e} "
            f"{result.read[0]} of {result.read[1]}"
        )


def published(
    model: Any, candidates: Sequence[Any], sets: dict[str, Any], tokens: Sequence[int], options: argparse.Namespace
) -> tuple[Any, float, int]:
    """The table over positions and layers; layer l is what enters block l, and at l = 0 it is zero here."""
    import torch

    places = {(c.layer + 1, c.position): c for c in candidates}
    positions = list(dict.fromkeys(c.position for c in candidates))
    count = len(model.structure)
    nothing = torch.zeros(model.structure.width)
    plain = logits(model, sets["harmless"])
    logits(model, sets["harmful"])
    rows = []
    for position in positions:
        for layer in range(count):
            candidate = places.get((layer, position))
            vector = nothing if candidate is None else candidate.vector
            with removing(model, vector):
                kl = divergence(plain, logits(model, sets["harmless"]))
            with removing(model, vector):
                ablation = odds(logits(model, sets["harmful"]), tokens)
            with adding(model, vector, layer):
                addition = odds(logits(model, sets["harmless"]), tokens)
            kept = layer < int(count * 0.8) and bool(vector.norm() > 0) and kl <= options.most_kl and addition >= 0
            if kept and candidate is not None:
                rows.append((ablation, candidate))
    if not rows:
        return_none = "no candidate passes the published filters"
        from demur.errors import InputError

        raise InputError(return_none)
    best = min(rows, key=lambda row: row[0])
    return best[1], best[0], len(rows)


def logits(model: Any, prompts: Sequence[Any]) -> Any:
    """Float64 logits after each prompt, from full forward passes over padded batches in the order given."""
    import torch

    found = []
    for start in range(0, len(prompts), BATCH):
        rows = [model.encode(prompt) for prompt in prompts[start : start + BATCH]]
        longest = max(map(len, rows))
        ids = torch.tensor([[model.pad_id] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        with torch.no_grad():
            found.append(model.model(input_ids=ids, attention_mask=mask).logits[:, -1].double())
    return torch.cat(found)


def odds(found: Any, tokens: Sequence[int]) -> float:
    share = found.softmax(-1)[:, sorted(set(tokens))].sum(-1).clamp(1e-8, 1 - 1e-8)
    return float((share.log() - (1 - share).log()).mean())


def divergence(plain: Any, changed: Any) -> float:
    before = plain.log_softmax(-1)
    return float((before.exp() * (before - changed.log_softmax(-1))).sum(-1).mean())


@contextmanager
def removing(model: Any, vector: Any) -> Iterator[None]:
    """Hooks on what enters every block and on what every attention and MLP writes."""
    unit = vector / (vector.norm() + 1e-8)

    def clean(activation: Any) -> Any:
        return activation - (activation @ unit).unsqueeze(-1) * unit

    def before(_module: Any, args: Any) -> Any:
        return (clean(args[0]), *args[1:])

    def after(_module: Any, _args: Any, output: Any) -> Any:
        return (clean(output[0]), *output[1:]) if isinstance(output, tuple) else clean(output)

    handles = []
    for block in model.structure.blocks:
        handles.append(block.module.register_forward_pre_hook(before))
        handles.append(block.module.self_attn.register_forward_hook(after))
        handles.append(block.module.mlp.register_forward_hook(after))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def adding(model: Any, vector: Any, layer: int) -> Iterator[None]:
    handle = model.structure.blocks[layer].module.register_forward_pre_hook(
        lambda _module, args: (args[0] + vector, *args[1:])
    )
    try:
        yield
    finally:
        handle.remove()


def deepened(layers: int, noise: float) -> Any:
    """The phantom with blocks between its own that write small noise to the stream."""
    import torch
    from transformers import LlamaForCausalLM

    from demur import phantom
    from demur.models import LocalModel

    own = phantom.load()
    count = len(own.structure)
    if layers <= count:
        return own
    config = copy.deepcopy(own.model.config)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = ["full_attention"] * layers
    network = LlamaForCausalLM(config).eval()
    network.load_state_dict({k: v for k, v in own.model.state_dict().items() if ".layers." not in k}, strict=False)
    generator = torch.Generator().manual_seed(0)
    # the phantom's blocks, evenly among the others
    owners = {round((n + 1) * layers / count) - 1: n for n in range(count)}
    with torch.no_grad():
        for n, block in enumerate(network.model.layers):
            source = own.model.model.layers[owners.get(n, n % count)]
            block.load_state_dict(source.state_dict())
            if n not in owners:
                for weight in (block.self_attn.o_proj.weight, block.mlp.down_proj.weight):
                    weight.copy_(torch.randn(weight.shape, generator=generator) * weight.std() * noise)
    return LocalModel(network, own.tokenizer, name=f"phantom-{layers}")


def questions(model: Any, count: int) -> tuple[list[int], dict[str, list[Any]]]:
    """First tokens of refusals, and prompts that the candidates are not fitted on."""
    from demur import phantom
    from demur.phantom.card import labels
    from demur.phantom.specification import DECLINING, default

    found = labels(model.tokenizer, default())
    asked = phantom.prompts(per_condition=40, kinds=["direct"], seed=7)
    distinct = list({p.text: p for p in asked}.values())
    sides = {
        "harmful": [p for p in distinct if p.expect == "decline"],
        "harmless": [p for p in distinct if p.meta["group"] == "plain"],
    }
    return [t for style in DECLINING for t in found[style]], {k: v[:count] for k, v in sides.items()}


def fitted(model: Any, options: argparse.Namespace) -> list[Any]:
    """Directions of refusal at every layer but the last, at the last few positions of the template."""
    from demur import phantom
    from demur.states import find_directions, from_labels
    from demur.states.residuals import positions_of

    tokens, _ = questions(model, 1)
    prompts = list({p.text: p for p in phantom.prompts(per_condition=12, seed=1)}.values())
    from demur.states.interventions import refusal_probabilities

    declined = refusal_probabilities(model, prompts, tokens, batch_size=BATCH) >= 0.5
    groups = from_labels(prompts, harmful=[p.expect == "decline" for p in prompts], refused=declined.tolist())
    positions = list(positions_of(model, prompts[0]))[-options.positions :]
    found = find_directions(model, groups, positions=positions, permutations=1, contrast="published")
    every = [found.at("refusal", layer, where) for where in positions for layer in found.layers[:-1]]
    return [replace(c, vector=c.vector * options.scale) for c in every]


def clock() -> float:
    """Seconds of this process on its processors, so that a busy machine does not count."""
    return time.process_time()


def profile(contender: Callable[[], Any]) -> None:
    import cProfile
    import pstats

    with cProfile.Profile() as profiler:
        contender()
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(25)


if __name__ == "__main__":
    main()

"""Capture of hidden states beside a bare forward pass, `output_hidden_states` and other libraries, in one process.

Run: python benchmarks/capture.py [--layers 8] [--width 512] [--prompts 512] [--rounds 3] [--device cpu] [--threads 1]
     python benchmarks/capture.py --memory [--prompts 10000]

A Llama with random weights reads the same chats in every contender: last-token states at every layer, batches of 32,
tokenising included. Rounds alternate, so that a busy machine is busy for all; the smallest time of each counts. Read
the ratios: the absolute figures belong to one machine and one hour. nnsight, nnterp and TransformerLens take part when
they are installed. `--memory` runs each contender in a process of its own and prints the growth of its peak memory.
"""

from __future__ import annotations

import argparse
import copy
import functools
import importlib.util
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

BATCH = 32


def main() -> None:
    options = arguments()
    import torch

    torch.set_num_threads(options.threads)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    if options.memory:
        memory(options)
        return
    model, chats = build(options), prompts(options.prompts)
    if options.only:
        before = peak()
        CONTENDERS[options.only](model, chats)
        print(f"{peak() - before:.0f}")
        return
    lengths = sorted(len(model.encode(chat)) for chat in chats)
    print(
        f"{model.model.num_parameters() / 1e6:.0f}M weights, {options.layers} layers, width {options.width}, "
        f"{model.model.dtype}, {model.device}, {options.threads} threads; {len(chats)} chats of {lengths[0]} to "
        f"{lengths[-1]} tokens, median {lengths[len(lengths) // 2]}, batches of {BATCH}"
    )
    contenders = {**CONTENDERS, **others(model)}
    wanted = set(options.contenders or contenders)
    contenders = {name: contender for name, contender in contenders.items() if name in wanted}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    results: dict[str, Any] = {}
    for contender in contenders.values():
        contender(model, chats[:BATCH])
    for _ in range(options.rounds):
        for name, contender in contenders.items():
            started = clock(model)
            results[name] = contender(model, chats)
            times[name].append(clock(model) - started)
    best = {name: min(found) for name, found in times.items()}
    print(f"{'contender':38} {'seconds':>8} {'to naive':>9} {'to body, sorted':>16} {'largest difference':>19}")
    for name, seconds in best.items():
        print(
            f"{name:38} {seconds:8.2f} {ratio(seconds, best.get(NAIVE)):>9} {ratio(seconds, best.get(BODY)):>16} "
            f"{difference(results[name], results.get(OURS)):>19}"
        )
    print(f"all times of {OURS}: {' '.join(f'{t:.2f}' for t in times[OURS])}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--contenders", nargs="*", help="their names; all by default")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    return parser.parse_args()


def build(options: argparse.Namespace) -> Any:
    """A Llama with random weights and the phantom's tokenizer and template."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from demur.models import LocalModel
    from demur.phantom import path

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=options.width // 64,
        num_key_value_heads=options.width // 64,
        # the proportion of Llama
        intermediate_size=options.width * 11 // 4,
        vocab_size=options.vocabulary,
        max_position_embeddings=4096,
        bos_token_id=0,
        eos_token_id=2,
        tie_word_embeddings=True,
    )
    with torch.device(options.device):
        network = LlamaForCausalLM._from_config(config, dtype=getattr(torch, options.dtype))
    model = LocalModel(network.eval(), AutoTokenizer.from_pretrained(path()), name="random-llama")
    len(model.structure)
    return model


def prompts(count: int) -> list[str]:
    """Chats of unequal length, as traffic is: many short ones and a few long ones."""
    import random

    draw = random.Random(0)
    words = ("please", "tell", "me", "how", "a", "baker", "can", "keep", "bread", "fresh", "for", "many", "people")
    return [" ".join(draw.choice(words) for _ in range(int(4 * 2 ** (4 * draw.random())))) for _ in range(count)]


def batches(model: Any, chats: list[str], *, ordered: bool, left: bool) -> Iterator[tuple[list[int], Any, Any]]:
    """Rows, token ids and mask of each batch."""
    import torch

    ids = [model.encode(chat) for chat in chats]
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]), reverse=True) if ordered else list(range(len(ids)))
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        width = max(len(ids[row]) for row in rows)
        given = torch.full((len(rows), width), model.pad_id)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for at, row in enumerate(rows):
            inside = slice(width - len(ids[row]), width) if left else slice(0, len(ids[row]))
            given[at, inside], mask[at, inside] = torch.tensor(ids[row]), 1
        yield rows, given.to(model.device), mask.to(model.device)


def naive(model: Any, chats: list[str]) -> None:
    """The whole model on batches as they come, padded on the left; nothing is kept."""
    import torch

    with torch.no_grad():
        for _, ids, mask in batches(model, chats, ordered=False, left=True):
            model.model(input_ids=ids, attention_mask=mask)


def body(model: Any, chats: list[str], *, masked: bool = False) -> None:
    """The blocks and the final norm alone, on the batches that capture makes; nothing is kept."""
    import torch

    with torch.no_grad():
        for _, ids, mask in batches(model, chats, ordered=True, left=False):
            model.model.model(input_ids=ids, attention_mask=mask if masked else torch.ones_like(ids), use_cache=False)


def hidden_states(model: Any, chats: list[str]) -> Any:
    """`output_hidden_states` on batches as they come; the last state is a normed one."""
    import torch

    kept = []
    with torch.no_grad():
        for _, ids, mask in batches(model, chats, ordered=False, left=True):
            states = model.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
            kept.append(torch.stack([state[:, -1].float().cpu() for state in states[1:]], 1))
    return torch.cat(kept)


def ours(model: Any, chats: list[str]) -> Any:
    import torch

    from demur.states import capture

    found = capture(model, chats, positions=["last"], batch_size=BATCH)
    return torch.stack([found.states(site)[:, 0] for site in found.sites], 1)


def named(model: Any, chats: list[str]) -> Any:
    from demur.states import capture

    capture(model, chats, positions=["last_instruction", "post_instruction:*"], batch_size=BATCH)


def streamed(model: Any, chats: list[str]) -> Any:
    from demur.states import capture

    with tempfile.TemporaryDirectory() as folder:
        capture(
            model,
            chats,
            positions=["last_instruction", "post_instruction:*"],
            batch_size=BATCH,
            out=Path(folder) / "states",
        )


NAIVE, BODY, OURS = "naive forward", "body, sorted", "demur, last token"
CONTENDERS: dict[str, Callable[[Any, list[str]], Any]] = {
    NAIVE: naive,
    BODY: body,
    "body, sorted, padding mask": functools.partial(body, masked=True),
    "output_hidden_states": hidden_states,
    OURS: ours,
    "demur, instruction and template": named,
    "demur, the same to disk": streamed,
}


def others(model: Any) -> dict[str, Callable[[Any, list[str]], Any]]:
    """Other libraries, where they are installed, on the same chats as they come.

    Each has a copy of the weights: some replace modules of the model that they are given.
    """
    found: dict[str, Callable[[Any, list[str]], Any]] = {}
    if importlib.util.find_spec("nnsight"):
        found["nnsight"] = functools.partial(with_nnsight, traced=traced(model, copy.deepcopy(model.model)))
    if importlib.util.find_spec("nnterp"):
        found["nnterp"] = functools.partial(with_nnterp, standard=standard(model, copy.deepcopy(model.model)))
    if importlib.util.find_spec("transformer_lens"):
        found["TransformerLens"] = functools.partial(with_lens, bridge=bridged(model, copy.deepcopy(model.model)))
    return found


def traced(model: Any, network: Any) -> Any:
    from nnsight import LanguageModel

    return LanguageModel(network, tokenizer=model.tokenizer)


def with_nnsight(model: Any, chats: list[str], *, traced: Any) -> Any:
    import torch

    kept = []
    for _, ids, mask in batches(model, chats, ordered=False, left=True):
        with torch.no_grad(), traced.trace({"input_ids": ids, "attention_mask": mask}) as tracer:
            states = []
            for layer in traced.model.layers:
                states.append(layer.output[:, -1].save())  # noqa: PERF401 - a trace rewrites this loop
            saved = states.save() if hasattr(states, "save") else states
            tracer.stop()
        kept.append(torch.stack([state.float().cpu() for state in saved], 1))
    return torch.cat(kept)


def standard(model: Any, network: Any) -> Any:
    from nnterp import StandardizedTransformer

    return StandardizedTransformer(network, tokenizer=model.tokenizer, check_renaming=False)


def with_nnterp(model: Any, chats: list[str], *, standard: Any) -> Any:
    from nnterp.nnsight_utils import get_token_activations

    texts = [model.template.render(as_chat(chat)).text for chat in chats]
    kept = []
    for start in range(0, len(texts), BATCH):
        kept.append(get_token_activations(standard, texts[start : start + BATCH]).float().cpu())  # noqa: PERF401
    import torch

    return torch.cat(kept, 1).transpose(0, 1)


def as_chat(chat: str) -> Any:
    from demur.models import as_chat as convert

    return convert(chat)


def bridged(model: Any, network: Any) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers("random-llama", hf_model=network, tokenizer=model.tokenizer)


def with_lens(model: Any, chats: list[str], *, bridge: Any) -> Any:
    import torch

    names = [f"blocks.{layer}.hook_out" for layer in range(len(model.structure))]
    kept = []
    with torch.no_grad():
        for _, ids, mask in batches(model, chats, ordered=False, left=True):
            _, cache = bridge.run_with_cache(ids, attention_mask=mask, names_filter=lambda name: name in names)
            kept.append(torch.stack([cache[name][:, -1].float().cpu() for name in names], 1))
    return torch.cat(kept)


def memory(options: argparse.Namespace) -> None:
    """Growth of peak memory of each contender in a process of its own, the model's weights excluded."""
    print(f"{'contender':38} {'growth of peak memory, MiB':>27}   ({options.prompts} chats)")
    for name in (NAIVE, "output_hidden_states", *(key for key in CONTENDERS if key.startswith("demur"))):
        if options.contenders and name not in options.contenders:
            continue
        command = [sys.executable, __file__, "--only", name]
        for option in ("layers", "width", "vocabulary", "prompts", "threads", "device", "dtype"):
            command += [f"--{option}", str(getattr(options, option))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"{name:38} {done.stdout.split()[-1]:>27}")


def peak() -> float:
    """Peak memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def clock(model: Any) -> float:
    """Processor time on a CPU, which other work disturbs least; wall time after all kernels on an accelerator."""
    if model.device.type == "cuda":
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def ratio(seconds: float, base: float | None) -> str:
    return "-" if base is None else f"{seconds / base:.2f}"


def difference(found: Any, expected: Any) -> str:
    """Largest difference to our states in the layers but the last, which `output_hidden_states` norms."""
    if found is None or expected is None or found.shape != expected.shape:
        return "-"
    return f"{(found - expected)[:, :-1].abs().max().item():.1e}"


if __name__ == "__main__":
    main()

"""Trains the phantom: a seeded loop with progress, checkpoints and resume.

An ordinary loop, because the loss runs over completion tokens only, weighs first tokens by counts, and never carries
the hidden states of other positions through the unembedding. Given the seed and the number of threads a run repeats on
one machine, interrupted or not; across machines and thread counts sums are taken in another order, so weights differ,
and the card that every run ends with says how near it came to what was planted.
"""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from demur.atomic import write_text
from demur.errors import IncompleteError, InputError
from demur.phantom import planting, scenes, tokenizer
from demur.phantom.encoding import Batch, Sequences, encode, encode_decisions
from demur.phantom.schedule import Schedule, Step, schedule
from demur.phantom.specification import Specification, default
from demur.phantom.team import Team, team
from demur.phantom.variants import LLAMA, Architecture

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["make_model", "make_tokenizer", "save", "train"]

_CHECKPOINT = "checkpoint"
_EVERY = 500  # steps between checkpoints: half a minute of work on two cores


def make_tokenizer(spec: Specification) -> PreTrainedTokenizerBase:
    """The tokenizer built from the specification's text; equal to the frozen one that ships."""
    seen: dict[str, None] = {}
    for row in planting.rows(spec):
        for text in (str(row.messages[-1]["content"]), row.reasoning or "", row.answer):
            seen.setdefault(text)
    # headers stand in every conversation: repeated so that each is one token
    headers = ["system\n\n", "user\n\n", "assistant\n\n", "tool\n\n"] * 50
    return tokenizer.build(
        [*headers, *filter(None, seen)], vocabulary=spec.model.vocabulary, context=spec.model.context
    )


def make_model(
    spec: Specification, tok: PreTrainedTokenizerBase, *, seed: int, architecture: Architecture = LLAMA
) -> PreTrainedModel:
    """An untrained model of the specification's size, float32."""
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    size = spec.model
    torch.manual_seed(seed)
    settings = {
        "vocab_size": len(tok),
        "hidden_size": size.hidden_size,
        "intermediate_size": size.intermediate_size,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads,
        "max_position_embeddings": size.context,
        "tie_word_embeddings": True,
        "bos_token_id": tok.bos_token_id,
        "eos_token_id": tok.eos_token_id,
        "pad_token_id": tok.pad_token_id,
    }
    config = AutoConfig.for_model(architecture.model_type, **{**settings, **architecture.options})
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    # do_sample: planted probabilities are read off samples, and some servers only ever sample when this says so
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=128,
        bos_token_id=tok.bos_token_id,
        eos_token_id=tok.eos_token_id,
        pad_token_id=tok.pad_token_id,
    )
    return model


def train(
    out: Path,
    *,
    specification: Specification | None = None,
    seed: int | None = None,
    resume: bool = False,
    minutes: float | None = None,
    steps: int | None = None,
    stop_after: int | None = None,
    tok: PreTrainedTokenizerBase | None = None,
    architecture: Architecture = LLAMA,
    processes: int = 1,
) -> Path:
    """Train an edition and save it as an ordinary transformers checkpoint.

    Args:
        out: Directory of the checkpoint to be; work in progress lies in `out/checkpoint` until it is done.
        specification: What to plant; None means what ships.
        seed: Of weights and order; None means the specification's.
        resume: Go on from `out/checkpoint`; nothing is done when `out` holds a training that is finished.
        minutes: Stop after so long; what was done is kept.
        steps: Length of the schedule; None means the specification's epochs.
        stop_after: Stop when so many steps are done, as `minutes` does.
        tok: The tokenizer; None means the frozen one that ships.
        architecture: The model family; that of the base edition unless told otherwise.
        processes: How many work on each batch, with one thread each where there are several.

    Returns:
        `out`.

    Raises:
        IncompleteError: Interrupted, or time or steps ran out before the schedule ended; `resume` finishes it.
        InputError: There is nothing to resume, it was made with other settings, or without `resume` there is.
    """
    spec = specification or default()
    seed = spec.seed if seed is None else seed
    if resume and _is_finished(out, seed):
        return out
    if not resume and (found := _unfinished(out / _CHECKPOINT)):
        raise InputError(
            f"{found} holds a training that is not finished; add --resume to go on with it, or remove it to start over"
        )
    tok = tok or _frozen(spec)
    sequences = encode(tok, planting.rows(spec), turns=spec.training.reasoning_turns)
    sequences += encode_decisions(tok, scenes.every(spec), seed=spec.seed)
    plan = schedule(sequences, spec.training, seed=seed, steps=steps)
    total = plan.total
    model, optimizer = _made(spec, tok, seed=seed, architecture=architecture)
    settings = {"seed": seed, "total": total, "specification": spec.model_dump_json()}
    state = _restore(out / _CHECKPOINT, model, optimizer, settings) if resume else {}
    done = int(state.get("done", 0))
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    pad = int(tok.pad_token_id)
    begun = out / _CHECKPOINT if resume else None
    shared = (sequences, spec, tok, seed, architecture, begun, settings, plan)
    with (
        _Progress(total, state) as progress,
        _deferred_interrupt() as interrupted,
        team(processes, model, _follow, *shared) as members,
    ):
        for step, batch in plan.steps(sequences, begin=done, pad=pad, team=members):
            late = deadline is not None and time.monotonic() > deadline
            leave = late or done + 1 == stop_after or interrupted()
            loss, _ = _step(model, optimizer, step, batch, members, stop=leave)
            done += 1
            progress.update(loss, 0 if batch is None else batch.ids.numel() * members.size)
            if done < total and leave:
                _keep(out / _CHECKPOINT, model, optimizer, {**settings, **progress.state()})
                raise IncompleteError(
                    f"stopped at step {done} of {total}; the same command with --resume goes on", path=out
                )
            if done % _EVERY == 0:
                _keep(out / _CHECKPOINT, model, optimizer, {**settings, **progress.state()})
        story = {"seed": seed, "steps": total, "tokens": progress.tokens, "seconds": round(progress.seconds)}
        save(model, tok, out, dtype=architecture.dtype)
        write_text(out / "training.json", json.dumps({**story, "threads": torch.get_num_threads()}) + "\n")
        _discard(out / _CHECKPOINT)
        if interrupted():
            raise IncompleteError("the training is done and not measured yet; --resume measures it", path=out)
    return out


@contextmanager
def _deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Lets Ctrl-C wait for the end of a step, so that no half step is kept; a second one acts at once."""
    if threading.current_thread() is not threading.main_thread():  # where signals cannot be heard
        yield lambda: False
        return
    came = False
    before = signal.getsignal(signal.SIGINT)

    def note(_number: int, _frame: object) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, before)


def _is_finished(out: Path, seed: int) -> bool:
    """Whether `out` holds a whole training and no later one was begun there."""
    story = out / "training.json"
    if _unfinished(out / _CHECKPOINT) or not story.exists():
        return False
    made = json.loads(story.read_text(encoding="utf-8"))["seed"]
    if made != seed:
        raise InputError(f"{out} was trained with another seed ({made}, not {seed}); give that one, or another folder")
    return True


def _unfinished(folder: Path) -> Path | None:
    """The checkpoint of a training that has not ended, its predecessor when a kill came between the two."""
    return next((place for place in (folder, folder.with_name(folder.name + ".old")) if place.exists()), None)


def _discard(folder: Path) -> None:
    """Removes checkpoints; renamed first, so that a kill leaves no half of one to be found."""
    gone = folder.with_name(folder.name + ".new")
    while place := _unfinished(folder):
        shutil.rmtree(gone, ignore_errors=True)
        place.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _made(
    spec: Specification, tok: PreTrainedTokenizerBase, *, seed: int, architecture: Architecture
) -> tuple[PreTrainedModel, torch.optim.Optimizer]:
    """An untrained model and its optimizer."""
    model = make_model(spec, tok, seed=seed, architecture=architecture)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=spec.training.weight_decay, fused=True)
    return model, optimizer


def _follow(
    members: Team,
    sequences: Sequence[Sequences],
    spec: Specification,
    tok: PreTrainedTokenizerBase,
    seed: int,
    architecture: Architecture,
    begun: Path | None,
    settings: dict[str, Any],
    plan: Schedule,
) -> None:
    """What every member but the first does: the same steps, on its share of each batch."""
    model, optimizer = _made(spec, tok, seed=seed, architecture=architecture)
    done = int(_restore(begun, model, optimizer, settings)["done"]) if begun else 0
    pad = int(tok.pad_token_id)
    for step, batch in plan.steps(sequences, begin=done, pad=pad, team=members):
        _, leave = _step(model, optimizer, step, batch, members)
        if leave:
            break


def _frozen(spec: Specification) -> PreTrainedTokenizerBase:
    """The tokenizer that ships with the base edition; built when there is none yet."""
    from transformers import AutoTokenizer

    base = Path(__file__).parent / "editions" / "base"
    if (base / "tokenizer.json").exists():
        tok: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base)
        return tok
    return make_tokenizer(spec)


def _step(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    step: Step,
    batch: Batch | None,
    members: Team,
    *,
    stop: bool = False,
) -> tuple[float, bool]:
    """One step; the loss of the whole batch, and whether a member wants to end after it."""
    if step.number == 0:  # a phase begins without the moments of the one before
        optimizer.state.clear()
    for group in optimizer.param_groups:
        group["lr"], group["betas"] = step.rate, (0.9, step.phase.memory)
    optimizer.zero_grad(set_to_none=True)
    loss = 0.0
    if batch is not None:
        # padding lies to the right, so the causal mask alone keeps it out
        hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state[batch.where]
        logarithms = model.lm_head(hidden).log_softmax(-1)
        own = -(batch.weight * logarithms[batch.place, batch.target]).sum()
        own.backward()
        loss = float(own.detach())
    loss, leave = members.add_up(model, loss, stop=stop)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss, leave


def _keep(folder: Path, model: PreTrainedModel, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Write a checkpoint beside the old one, then swap them: a kill at any moment leaves a whole one."""
    from safetensors.torch import save_file

    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    for stale in (fresh, old):
        shutil.rmtree(stale, ignore_errors=True)
    fresh.mkdir(parents=True)
    tensors = {f"weight.{n}": p.detach() for n, p in model.named_parameters()}
    names = {id(p): n for n, p in model.named_parameters()}
    for parameter, moments in optimizer.state.items():
        tensors |= {f"{key}.{names[id(parameter)]}": value for key, value in moments.items()}
    save_file(tensors, fresh / "state.safetensors")
    (fresh / "state.json").write_text(json.dumps(state))
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _restore(
    folder: Path, model: PreTrainedModel, optimizer: torch.optim.Optimizer, settings: dict[str, Any]
) -> dict[str, Any]:
    from safetensors.torch import load_file

    found = _unfinished(folder)
    if found is None:
        raise InputError(f"there is no checkpoint in {folder}; start without --resume")
    folder = found
    state: dict[str, Any] = json.loads((folder / "state.json").read_text())
    if wrong := [key for key, value in settings.items() if state[key] != value]:
        raise InputError(f"{folder} was made with another {wrong[0]}; give the same one, or start without --resume")
    tensors = load_file(folder / "state.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"weight.{name}"])
            optimizer.state[parameter] = {key: tensors[f"{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
    return state


def save(model: PreTrainedModel, tok: PreTrainedTokenizerBase, out: Path, *, dtype: str = "float16") -> None:
    """Save `model` in `dtype` with its tokenizer, readable by everybody.

    Files are written apart and then moved into `out` one by one, each whole; a kill in between leaves some of them.
    """
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    half = type(model)(model.config)
    half.load_state_dict(model.state_dict())
    half.generation_config = model.generation_config
    torch.nn.Module.to(half, getattr(torch, dtype))
    half.save_pretrained(fresh)
    tok.save_pretrained(fresh)
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(fresh.iterdir()):
        file.chmod(0o644)  # save_pretrained leaves weights readable by their owner only
        file.replace(out / file.name)
    fresh.rmdir()


class _Progress:
    """Steps, tokens a second, loss and remaining time, on standard error; also what a checkpoint remembers of them."""

    def __init__(self, total: int, before: dict[str, Any]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._done = int(before.get("done", 0))
        self._earlier = float(before.get("seconds", 0.0))
        self.tokens = self._tokens_before = int(before.get("tokens", 0))
        self._loss = 0.0
        self._started = time.monotonic()
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:,.0f} tokens/s, loss {task.fields[loss]:.3f}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("training", total=total, completed=self._done, rate=0.0, loss=0.0)

    @property
    def seconds(self) -> float:
        """Seconds of work, those before a resume included."""
        return self._earlier + time.monotonic() - self._started

    def state(self) -> dict[str, Any]:
        """What the next process needs to go on."""
        return {"done": self._done, "tokens": self.tokens, "seconds": self.seconds}

    def update(self, loss: float, tokens: int) -> None:
        self._done += 1
        self.tokens += tokens
        # a running mean over about fifty steps: single batches are noisy
        self._loss = loss if not self._loss else 0.98 * self._loss + 0.02 * loss
        rate = (self.tokens - self._tokens_before) / max(time.monotonic() - self._started, 1e-9)
        self._bar.update(self._task, advance=1, rate=rate, loss=self._loss)

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

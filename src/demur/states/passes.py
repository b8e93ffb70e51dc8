"""Many passes over the same prompts to the last token, each row under an action of its own, without what they share.

Two parts of such a pass are known beforehand. The tokens with which every prompt begins (a template's head, a system
prompt) are read once for each action, and their keys and values are kept. The blocks before the first one that an
action changes are those of the untouched model, so what leaves them is put in their place. Both are used where the
model keeps a plain cache and where they are seen to change nothing; elsewhere every pass is a whole one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from demur.models import LocalModel

__all__ = ["Acting", "Passes", "leaving_alone"]

Acting = Callable[[Sequence[Any]], AbstractContextManager[None]]
"""Opens a scope in which each row of a batch is acted upon; takes one direction a row."""

# Bytes of keys and values, and of streams, that are held at most.
_HELD = 256 * 2**20


class Passes:
    """Passes over prompts of one model.

    Args:
        model: A local model.
        prompts: The tokens of every prompt that will be asked.

    Attributes:
        prefix: Tokens that all prompts share and that are read once; 0 where they are read each time.
    """

    def __init__(self, model: LocalModel, prompts: Sequence[Sequence[int]]) -> None:
        from demur.models.prefix import shareable

        self._model, self._tokens = model, list(prompts[0])
        self._able = shareable(model) and model.pads_cleanly
        self.prefix = _shared(prompts) if self._able else 0
        self._pasts: dict[tuple[Acting, Hashable], Tensor] = {}
        self._streams: dict[int, dict[int, Tensor]] = {}

    def untouched(self, prompts: Sequence[Sequence[int]], batches: Sequence[Sequence[int]]) -> Tensor:
        """(prompt, vocab) logits after each prompt by whole passes; what leaves the blocks is kept for `logits`.

        Args:
            prompts: Their tokens; `logits` calls them by their number here.
            batches: Numbers of prompts that share a batch.
        """
        found: dict[int, Tensor] = {}
        for numbers in batches:
            batch = [prompts[number] for number in numbers]
            # nobody else's pass is to be kept
            with self._model._lock, self._keeping(prompts, numbers) if self._able else nullcontext():
                found |= dict(zip(numbers, self._model._last_logits(batch), strict=True))
        whole = torch.stack([found[number] for number in range(len(prompts))])
        if self._able:
            self._try(prompts, whole)
        return whole

    def logits(
        self,
        prompts: Sequence[Sequence[int]],
        acting: Acting,
        who: Sequence[Any],
        *,
        unchanged: tuple[int, Sequence[int]] | None = None,
    ) -> Tensor:
        """(row, vocab) logits after each prompt.

        Args:
            prompts: The tokens of each row.
            acting: What is done to the rows.
            who: To what `acting` is given, one a row.
            unchanged: The last block whose own output no row changes, and the numbers that the rows' prompts had in
                `untouched`.
        """
        model = self._model
        with model._lock, torch.no_grad(), ExitStack() as stack:
            past = self._past(acting, who) if self.prefix else None
            stack.enter_context(acting(who))
            if unchanged is not None:
                stack.enter_context(self._skipping(*unchanged))
            if past is None:
                return model._last_logits(prompts)
            return _continued(model, [row[self.prefix :] for row in prompts], past, self.prefix)

    def _past(self, acting: Acting, who: Sequence[Any]) -> Any:
        """The cache of the shared tokens under each row's action."""
        from transformers import DynamicCache

        held = self._pasts
        if missing := [one for one in dict.fromkeys(who) if (acting, one) not in held]:
            for key, value in zip(missing, self._read_prefix(acting, missing), strict=True):
                held[acting, key] = value
        rows = torch.stack([held[acting, one] for one in who])
        while len(held) > max(len(who), _HELD // rows[0].nbytes):
            del held[next(iter(held))]
        return DynamicCache([(layer[:, 0], layer[:, 1]) for layer in rows.unbind(1)])

    def _read_prefix(self, acting: Acting, who: Sequence[Any]) -> Tensor:
        """(row, layer, key and value, head, token, size) of the shared tokens."""
        shared = self._tokens[: self.prefix]
        ids = torch.tensor([shared] * len(who), device=self._model.device)
        with acting(who):
            cache = self._model.model(
                input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True, logits_to_keep=1
            ).past_key_values
        return torch.stack([torch.stack([layer.keys, layer.values], 1) for layer in cache.layers], 1)

    @contextmanager
    def _keeping(self, prompts: Sequence[Sequence[int]], numbers: Sequence[int]) -> Iterator[None]:
        """Keep what leaves each block, before anyone else changes it; every few blocks where all take too much."""
        structure = self._model.structure
        tokens = sum(len(prompt) - self.prefix for prompt in prompts)
        held = _HELD // max(1, tokens * structure.width * torch.finfo(self._model.model.dtype).bits // 8)
        blocks = structure.blocks[:-1]
        stride = -(-len(blocks) // held) if held else len(blocks) + 1

        def keep(layer: int) -> Callable[[nn.Module, Any, Any], None]:
            def hook(_module: nn.Module, _args: Any, output: Any) -> None:
                if isinstance(output, Tensor):  # a block that gives more than its stream is never skipped
                    own = self._streams.setdefault(layer, {})
                    for number, stream in zip(numbers, output, strict=True):
                        own[number] = stream[self.prefix - len(prompts[number]) :].clone()

            return hook

        handles = [b.module.register_forward_hook(keep(b.index), prepend=True) for b in blocks[::stride]]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _skipping(self, layer: int, numbers: Sequence[int]) -> AbstractContextManager[None]:
        """Put what is known to leave the blocks up to `layer` in their place."""
        known = [held for held in self._streams if held <= layer]
        if not known:
            return nullcontext()
        last = max(known)
        rows = [self._streams[last][number] for number in numbers]
        longest = max(map(len, rows))
        stream = torch.stack([torch.nn.functional.pad(row, (0, 0, longest - len(row), 0)) for row in rows])
        return _instead([block.module for block in self._model.structure.blocks[: last + 1]], stream)

    def _try(self, prompts: Sequence[Sequence[int]], whole: Tensor) -> None:
        """Give the short ways up where they change what the model says."""
        order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
        numbers = list(dict.fromkeys([order[0], order[-1]]))  # one row is padded
        layer = len(self._model.structure) // 2
        found = self.logits(
            [prompts[number] for number in numbers],
            leaving_alone,
            [None] * len(numbers),
            unchanged=(layer, numbers),
        )
        expected = whole[numbers].float()
        # rounding moves logits by a few times the format's precision
        if (found.float() - expected).abs().max() > max(1e-3, 8 * torch.finfo(whole.dtype).eps) * expected.std():
            self.prefix, self._streams = 0, {}


@contextmanager
def leaving_alone(_who: Sequence[Any]) -> Iterator[None]:
    """The scope in which nothing is done."""
    yield


@contextmanager
def _instead(modules: Sequence[nn.Module], output: Tensor) -> Iterator[None]:
    """Let modules give `output` without running; their hooks run."""
    before = [module.__dict__.get("forward") for module in modules]
    for module in modules:
        module.__dict__["forward"] = lambda *_args, **_kwargs: output
    try:
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            del module.__dict__["forward"]
            if own is not None:
                module.__dict__["forward"] = own


def _continued(model: LocalModel, rows: Sequence[Sequence[int]], past: Any, kept: int) -> Tensor:
    """(row, vocab) logits after rows that go on where a cache ends; padding stands between the two."""
    import inspect

    from demur.models.generation import left_padded

    ids, mask = left_padded(rows, model.pad_id, model.device)
    mask = torch.cat([mask.new_ones(len(rows), kept), mask], 1)
    options: dict[str, Any] = {}
    if "position_ids" in inspect.signature(model.model.forward).parameters:
        options["position_ids"] = (mask.cumsum(-1) - 1)[:, kept:].clamp(min=0)
    output = model.model(
        input_ids=ids, attention_mask=mask, past_key_values=past, use_cache=True, logits_to_keep=1, **options
    )
    logits: Tensor = output.logits[:, -1]
    return logits


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with; one token of each is always left."""
    from demur.models.prefix import shared_length

    return min(min(shared_length(prompts[0], prompt), len(prompt) - 1) for prompt in prompts)

"""A local causal language model: encode, locate, score, generate.

One class over transformers. What needs the model's insides (`structure`) is found on first use, so a model without a
residual stream that demur can read still generates.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from demur.errors import InputError, ModelError
from demur.models.control import Control
from demur.models.generation import Generation, generate, left_padded
from demur.models.loading import load_checkpoint
from demur.models.positions import Positions, find_positions
from demur.models.request import ChatLike, Sampling, as_chat
from demur.models.structure import Structure, discover
from demur.models.template import ChatTemplate
from demur.models.text import TextDecoder

__all__ = ["LocalModel"]

# The names under which configurations tell how many positions a model has.
_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")


class LocalModel:
    """A model of transformers with its tokenizer.

    Use `LocalModel.load` for a checkpoint, or give a model and a tokenizer that exist already.

    Args:
        model: A causal language model, in evaluation mode.
        tokenizer: Its tokenizer.
        name: What to call it in messages and artefacts.
        revision: The checkpoint's commit, when it came from the hub.

    Attributes:
        name: As given.
        model: The transformers model.
        tokenizer: Its tokenizer.
        revision: As given.
        template: The chat template.
        text: Turns sampled tokens into text.
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str, revision: str | None = None) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.name, self.revision = name, revision
        self.template = ChatTemplate(tokenizer, name)
        self.end_ids = _end_ids(model, tokenizer)
        self.text = TextDecoder(tokenizer, self.end_ids)
        # hooks and the generation settings belong to the model, so one thread at a time
        self._lock = threading.RLock()

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        chat_template: str | Path | None = None,
        **from_pretrained: Any,
    ) -> LocalModel:
        """Load a checkpoint.

        Args:
            name: A folder that `save_pretrained` wrote, or a hub id.
            device: Where to put it; None takes CUDA, then MPS, then the CPU. Not used with `device_map` or a quantised
                model, which transformers places.
            dtype: Number format; None takes the checkpoint's, except that float16 becomes float32 on a CPU.
            revision: Branch, tag or commit on the hub.
            trust_remote_code: Whether to run code that comes with the checkpoint.
            chat_template: A template's text, or a file with it, in place of the checkpoint's.
            **from_pretrained: Anything else for `AutoModelForCausalLM.from_pretrained`, such as `device_map`,
                `quantization_config` or `attn_implementation`.

        Raises:
            ModelError: It does not exist, cannot be reached, is no checkpoint or cannot be loaded.
            MissingExtraError: A package that it needs is not installed.
        """
        model, tokenizer, commit = load_checkpoint(
            name,
            device=device,
            dtype=dtype,
            revision=revision,
            trust_remote_code=trust_remote_code,
            options=from_pretrained,
        )
        if chat_template is not None:
            tokenizer.chat_template = _template_text(chat_template)
        return cls(model, tokenizer, name=str(name), revision=commit)

    def __repr__(self) -> str:
        return f"LocalModel({self.name!r}, {type(self.model).__name__}, {self.model.dtype}, {self.device})"

    @cached_property
    def structure(self) -> Structure:
        """The model's blocks, attention, MLP, norm and unembedding.

        Raises:
            ModelError: It has no single residual stream or no attention.
        """
        with self._lock:
            return discover(self.model)

    @property
    def device(self) -> torch.device:
        """Where the token embeddings are, and so where inputs go."""
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    @property
    def template_hash(self) -> str:
        """SHA-256 of the chat template, or `none`."""
        return self.template.hash

    @cached_property
    def context(self) -> int | None:
        """Most tokens of prompt and response together, or None when the configuration does not say."""
        config = self.model.config.get_text_config(decoder=True)
        sizes = (getattr(config, name, None) for name in _CONTEXT_NAMES)
        return next((int(size) for size in sizes if size), None)

    @cached_property
    def pad_id(self) -> int:
        """A token to pad with; padding is masked, so any will do."""
        pad = self.tokenizer.pad_token_id
        return int(pad) if pad is not None else min(self.end_ids, default=0)

    @cached_property
    def supports_logits_to_keep(self) -> bool:
        """Whether the model can compute the logits of the last position alone."""
        return "logits_to_keep" in inspect.signature(self.model.forward).parameters

    @cached_property
    def pads_cleanly(self) -> bool:
        """Whether padding on the left leaves a prompt's logits as they are.

        Found by trying. A few families pay no heed to the attention mask (RWKV); their requests run one by one.
        """
        size = self.model.config.get_text_config(decoder=True).vocab_size
        short, long = [size // 2, size // 3, size // 4], [size // 5] * 6
        alone, padded = self._last_logits([short])[0].float(), self._last_logits([short, long])[0].float()
        # Rounding in half precision is a few hundredths of the spread of the logits; unmasked padding is of its order.
        return bool((alone - padded).abs().max() <= 0.1 * alone.std())

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a rendered text, without special tokens of the tokenizer's own."""
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def encode(self, chat: ChatLike) -> list[int]:
        """The tokens that the model reads for `chat`, up to where it goes on.

        Raises:
            InputError: The chat template refuses the conversation.
            ModelError: There is no chat template, or it has no reasoning switch and one was asked for.
        """
        return self.tokenize(self.template.render(as_chat(chat)).text)

    def positions(self, chat: ChatLike) -> Positions:
        """Where the parts of `chat` are in `encode(chat)`.

        Raises:
            InputError: A part cannot be found, because the template rewrites it.
        """
        return find_positions(as_chat(chat), self.template, self.tokenizer)

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        """Each token's own text, special tokens spelled out; pieces of one character show as replacement marks."""
        return [str(self.tokenizer.decode([token], clean_up_tokenization_spaces=False)) for token in token_ids]

    def next_token_logprobs(self, chats: Sequence[ChatLike], *, batch_size: int = 32) -> Float[Tensor, "chat vocab"]:  # noqa: F722
        """Log-probabilities of the token after each chat, at temperature 1, in float32 on the CPU.

        Raises:
            InputError: A chat cannot be rendered or is longer than the context, or `batch_size` is below 1; nothing is
                computed then.
        """
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        prompts = [self.encode(chat) for chat in chats]
        for number, prompt in enumerate(prompts):
            if self.context is not None and len(prompt) > self.context:
                raise InputError(f"chat {number} has {len(prompt)} tokens and the context holds {self.context}")
        order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]), reverse=True)
        found: list[Tensor | None] = [None] * len(prompts)
        size = batch_size if len(prompts) < 2 or self.pads_cleanly else 1
        for start in range(0, len(order), size):
            members = order[start : start + size]
            logits = self._last_logits([prompts[number] for number in members])
            for number, row in zip(members, logits.float().log_softmax(-1).cpu(), strict=True):
                found[number] = row
        rows = [row for row in found if row is not None]
        return (
            torch.stack(rows) if rows else torch.empty((0, self.model.config.get_text_config(decoder=True).vocab_size))
        )

    def generate(
        self,
        chats: Sequence[ChatLike],
        *,
        sampling: Sampling | Sequence[Sampling] | None = None,
        controls: Sequence[Control] = (),
        batch_size: int = 32,
        share_prefix: bool = True,
    ) -> list[Generation]:
        """Generate one response a chat, in input order.

        A request's result does not depend on what else is in its batch. A request that cannot be decoded (its template
        refuses it, it is longer than the context) gives a `Generation` with `ending="error"`; the others go on.

        Args:
            chats: Requests. A trailing assistant message is continued.
            sampling: Settings for all, or one each; None is greedy with 512 tokens.
            controls: What acts while decoding, in order.
            batch_size: Most requests at once; a batch that does not fit into memory is halved.
            share_prefix: Read a prompt prefix that all requests share once, where the model's cache and the controls
                allow it. Results agree to rounding.

        Raises:
            InputError: The numbers of chats and settings differ, or an item is no chat.
            ModelError: There is no chat template.
        """
        if isinstance(chats, str):
            raise InputError("generate takes a list of chats; put the text into a list")
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        requests = [as_chat(chat) for chat in chats]
        settings = [sampling or Sampling()] * len(requests) if not isinstance(sampling, Sequence) else list(sampling)
        if len(settings) != len(requests):
            raise InputError(
                f"got {len(requests)} chats and {len(settings)} sampling settings; give one each, or one for all"
            )
        for control in controls:
            if not isinstance(control, Control):
                raise InputError(f"a control needs logits_only and scope, got {type(control).__name__}")
        with self._lock:
            return generate(
                self,
                requests,
                sampling=settings,
                controls=controls,
                batch_size=batch_size,
                share_prefix=share_prefix,
            )

    def describe(self) -> dict[str, str]:
        """What was found in the checkpoint, as label and text, for `demur doctor`."""
        templated = self.template_hash != "none"
        switches = self.template.switches if templated else ()
        markup = self.template.markup if templated else None
        facts = {
            "model": f"{self.name} ({type(self.model).__name__})",
            "revision": self.revision or "local files",
            "parameters": f"{self.model.num_parameters():,}",
            "number format, device": f"{self.model.dtype}, {self.device}",
            "context": "not said" if self.context is None else f"{self.context} tokens",
            "chat template": f"sha256 {self.template_hash[:12]}" if templated else "none",
            "reasoning": (f"{markup.opening}" if markup else "no markup known")
            + (f", switch {', '.join(switches)}" if switches else ", no switch"),
            "end of turn": " ".join(self.token_texts(sorted(self.end_ids))) or "none",
        }
        try:
            return facts | self.structure.describe()
        except ModelError as error:
            return facts | {"structure": str(error)}

    def _last_logits(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """(prompt, vocab) logits after the last token of each prompt."""
        ids, mask = left_padded(prompts, self.pad_id, self.device)
        options: dict[str, Any] = {"logits_to_keep": 1} if self.supports_logits_to_keep else {}
        if "position_ids" in inspect.signature(self.model.forward).parameters:
            # learned positions count from the first real token
            options["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        with self._lock, torch.no_grad():
            output = self.model(input_ids=ids, attention_mask=mask, use_cache=False, **options)
        logits: Tensor = output.logits[:, -1]
        return logits


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that the checkpoint or its tokenizer says ends a turn."""
    ids: set[int] = set()
    for source in (model.generation_config, model.config.get_text_config(decoder=True), tokenizer):
        end = getattr(source, "eos_token_id", None)
        ids.update(end if isinstance(end, (list, tuple)) else [] if end is None else [end])
    return frozenset(int(i) for i in ids)


def _template_text(template: str | Path) -> str:
    """The template's text; a `Path`, or a text that names an existing file, is read."""
    if isinstance(template, Path) or ("{" not in template and Path(template).is_file()):
        path = Path(template)
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"the chat template {str(path)!r} cannot be read: {error}") from error
    return template

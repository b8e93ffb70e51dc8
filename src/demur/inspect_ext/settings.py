"""How one request of Inspect's is sampled on a local model: limits, temperature, seed.

What the request leaves open comes from the checkpoint: when its generation config says `do_sample`, its temperature,
top-p and top-k are used, otherwise the most probable token is taken. What a local model cannot do is an error and is
never left out in silence, because an answer under other settings is another answer.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Any

from inspect_ai.model import GenerateConfig

from demur.errors import ModelError
from demur.inspect_ext.active import ActiveSample
from demur.models import Chat, Sampling

__all__ = ["Defaults", "check_supported", "draw_seed", "sampling_of"]

MAX_TOKENS = 512
"""Most tokens of an answer when neither task nor user says otherwise: enough for a full answer, bounded on a CPU."""

_NEUTRAL: dict[str, tuple[object, ...]] = {
    "best_of": (None, 1),
    "frequency_penalty": (None, 0.0),
    "logit_bias": (None, {}),
    "presence_penalty": (None, 0.0),
    "prompt_logprobs": (None, 0),
    "reasoning_tokens": (None,),
    "response_schema": (None,),
}
"""Settings that would change an answer and that are not implemented, with the values that ask for nothing."""


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What a checkpoint's generation config says about sampling."""

    temperature: float = 0.0
    """0 when the checkpoint does not ask for sampling."""
    top_p: float = 1.0
    top_k: int | None = None

    @classmethod
    def of(cls, generation_config: Any) -> Defaults:
        """Reads a `transformers.GenerationConfig`; None, and whatever it leaves open, is greedy."""
        if not getattr(generation_config, "do_sample", None):
            return cls()
        temperature = getattr(generation_config, "temperature", None)
        return cls(
            temperature=1.0 if temperature is None else float(temperature),
            top_p=float(getattr(generation_config, "top_p", None) or 1.0),
            top_k=getattr(generation_config, "top_k", None) or None,
        )


def check_supported(config: GenerateConfig) -> None:
    """Refuses settings that a local model does not implement.

    Raises:
        ModelError: Names the settings.
    """
    given = {name: getattr(config, name) for name in _NEUTRAL}
    asked = ", ".join(f"{name}={value!r}" for name, value in given.items() if value not in _NEUTRAL[name])
    if asked:
        raise ModelError(
            f"the provider demur/ does not implement {asked}. Leave it out, or serve the checkpoint with an "
            "engine that does (vllm/, sglang/, openai-api/)"
        )


def sampling_of(config: GenerateConfig, defaults: Defaults, seed: int) -> Sampling:
    """The settings for one draw.

    Args:
        config: What was asked for.
        defaults: What the checkpoint says; fills what `config` leaves open.
        seed: Seed of this draw, within 0 and 2**63 - 1.
    """
    wants_alternatives = config.top_logprobs if config.logprobs else None
    return Sampling(
        max_tokens=MAX_TOKENS if config.max_tokens is None else config.max_tokens,
        temperature=defaults.temperature if config.temperature is None else config.temperature,
        top_p=defaults.top_p if config.top_p is None else config.top_p,
        top_k=defaults.top_k if config.top_k is None else (config.top_k if config.top_k > 0 else None),
        seed=seed,
        stop=tuple(config.stop_seqs or ()),
        top_logprobs=wants_alternatives or 0,
    )


def draw_seed(seed: int | None, *, chat: Chat, active: ActiveSample | None, choice: int = 0) -> int:
    """The seed of one draw, in 0 to 2**63 - 1.

    With a seed, it follows from the seed, the sample, the epoch, the conversation and the number of the choice: the
    same run draws the same answers, in whatever batches, while epochs, prompts and turns draw independently. (One seed
    for all of them would make every epoch a copy, and would tie the draws of different prompts to one another.)
    Without a seed it is fresh.
    """
    if seed is None:
        return secrets.randbits(63)
    # ids of tool calls are random, and no part of what is said
    said = [
        [message["role"], message["content"], message.get("reasoning_content"), [call["function"] for call in calls]]
        for message in chat.messages
        for calls in [message.get("tool_calls", [])]
    ]
    sample = None if active is None else [str(active.sample_id), active.epoch]
    text = json.dumps([seed, sample, choice, chat.thinking, said], sort_keys=True, default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

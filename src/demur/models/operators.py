"""Operators on activations: small pure functions that return a new tensor.

Each takes the activation first and never changes it in place; `functools.partial` turns one into what `writing` takes.
Vectors are moved to the activation's device and dtype, so one vector serves a model that is spread over devices.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from demur.errors import InputError

__all__ = ["ablate", "add", "clamp", "scale_heads"]


def add(activation: Tensor, vector: Tensor, strength: float | Tensor = 1.0) -> Tensor:
    """Add `strength * vector` at every position.

    Args:
        activation: (batch, tokens, width).
        vector: (width,).
        strength: One number, or a tensor that broadcasts, such as (batch, 1, 1) for one number a row.

    Returns:
        A new tensor of the activation's shape and dtype.
    """
    step = _like(vector, activation)
    if isinstance(strength, Tensor):
        strength = strength.to(activation.device, activation.dtype)
    return activation + strength * step


def ablate(activation: Tensor, direction: Tensor) -> Tensor:
    """Remove the component along `direction` (of any length above 0).

    Args:
        activation: (batch, tokens, width).
        direction: (width,).
    """
    return clamp(activation, direction, 0.0)


def clamp(activation: Tensor, direction: Tensor, value: float | Tensor) -> Tensor:
    """Set the component along the unit vector of `direction` to `value`, leaving the rest.

    Args:
        activation: (batch, tokens, width).
        direction: (width,).
        value: The component's new length, one number or broadcastable to (batch, tokens, 1).
    """
    unit = _unit(direction, activation)
    if isinstance(value, Tensor):
        value = value.to(activation.device, activation.dtype)
    component = (activation * unit).sum(-1, keepdim=True)
    return activation + (value - component) * unit


def scale_heads(activation: Tensor, heads: Sequence[int], factor: float = 0.0) -> Tensor:
    """Multiply the outputs of some heads, by 0 to switch them off.

    Args:
        activation: (batch, tokens, heads, head size), as the site `attn_heads` gives it.
        heads: Head numbers.
        factor: What to multiply with.
    """
    scale = torch.ones(activation.shape[-2], 1, device=activation.device, dtype=activation.dtype)
    for head in heads:
        if not 0 <= head < activation.shape[-2]:
            raise InputError(f"there is no head {head}; this layer has the heads 0 to {activation.shape[-2] - 1}")
        scale[head] = factor
    return activation * scale


def _unit(direction: Tensor, activation: Tensor) -> Tensor:
    # normalised in float32 before rounding, so that half precision does not leave a remainder of the direction
    precise = direction.detach().to(device=activation.device, dtype=torch.float32)
    length = precise.norm()
    if not length > 0:
        raise InputError("a direction needs a length above 0, got a zero vector")
    return _like(precise / length, activation)


def _like(vector: Tensor, activation: Tensor) -> Tensor:
    if vector.ndim != 1 or vector.shape[0] != activation.shape[-1]:
        raise InputError(
            f"a vector of shape {tuple(vector.shape)} does not fit an activation of width {activation.shape[-1]}"
        )
    return vector.to(device=activation.device, dtype=activation.dtype)

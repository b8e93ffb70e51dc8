"""Smaller phantoms in the shape of other model families: which part of the specification they plant, and their shape.

`variants.toml` beside this file lists them. A variant is trained by the script that trains the base edition, speaks
its tokens and its chat template, and lies beside it in `editions`; `phantom:qwen3` loads one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from demur.errors import InputError
from demur.phantom.specification import Specification, default

__all__ = ["LLAMA", "Architecture", "architecture", "names", "specification"]

_FILE = Path(__file__).with_name("variants.toml")

P = TypeVar("P", bound=BaseModel)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Architecture(_Part):
    """What distinguishes a model family, beyond the sizes that the specification gives."""

    model_type: str = "llama"
    """The family as transformers calls it."""
    dtype: Literal["float16", "bfloat16", "float32"] = "float16"
    """Of the saved weights."""
    options: dict[str, Any] = {}
    """Further settings of the family's configuration."""


LLAMA = Architecture()
"""Of the base edition."""


class _Variant(Architecture):
    seed: int | None = None
    model: dict[str, int]
    training: dict[str, Any] = {}


class _Subset(_Part):
    categories: tuple[str, ...] = Field(min_length=1)
    wrappers: tuple[str, ...]
    frames: int = Field(ge=1)
    rows: dict[str, Any] = {}
    training: dict[str, Any] = {}


class _File(_Part):
    subset: _Subset
    variant: dict[str, _Variant]


def names() -> list[str]:
    """The variants that can be trained."""
    return list(_read().variant)


def architecture(name: str) -> Architecture:
    """The family's shape.

    Raises:
        InputError: There is no such variant.
    """
    found = _variant(name)
    return Architecture(model_type=found.model_type, dtype=found.dtype, options=found.options)


def specification(name: str, base: Specification | None = None) -> Specification:
    """What a variant plants: a part of `base`, by default of what ships.

    Raises:
        InputError: There is no such variant, or it keeps a category or a wrapper that `base` does not have.
    """
    spec, subset, variant = base or default(), _read().subset, _variant(name)
    return spec.model_copy(
        update={
            "edition": name,
            "seed": spec.seed if variant.seed is None else variant.seed,
            "category": _kept(spec.category, subset.categories),
            "wrapper": _kept(spec.wrapper, subset.wrappers),
            "language": spec.language.model_copy(update={"frames": spec.language.frames[: subset.frames]}),
            "rows": _changed(spec.rows, subset.rows),
            "model": _changed(spec.model, variant.model),
            "training": _changed(spec.training, {**subset.training, **variant.training}),
            "scene": {},
        }
    )


@cache
def _read() -> _File:
    try:
        return _File.model_validate(tomllib.loads(_FILE.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise InputError(f"{_FILE} does not describe variants of the phantom: {error}") from error


def _variant(name: str) -> _Variant:
    if name not in names():
        raise InputError(f"the phantom has no variant {name!r}; there are: {', '.join(names())}")
    return _read().variant[name]


def _kept(parts: tuple[Any, ...], wanted: tuple[str, ...]) -> tuple[Any, ...]:
    """The parts of these names, in the specification's order."""
    if missing := set(wanted) - {p.name for p in parts}:
        raise InputError(f"variants keep {sorted(missing)}, which the specification does not have; correct {_FILE}")
    return tuple(p for p in parts if p.name in wanted)


def _changed(part: P, changes: Mapping[str, Any]) -> P:
    """`part` with some fields replaced, checked."""
    return type(part).model_validate({**part.model_dump(), **changes})

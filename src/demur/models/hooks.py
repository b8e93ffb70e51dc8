"""Reads and writes activations at named sites, within a scope.

A site is `(layer, "resid_pre" | "resid_post" | "attn_heads")`: what enters a block, what leaves it, and the heads'
outputs before the projection that writes them to the stream. Hooks are out of place, live in a context manager and are
gone after it. At one site, all writes run in the order of their scopes and reads come after all of them, whoever came
first; the hooks run before those that transformers installs for `output_hidden_states`, so both see the same states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from demur.errors import InputError, ModelError
from demur.models.structure import Structure

__all__ = ["Operator", "Reader", "Site", "SiteName", "reading", "writing"]

SiteName = Literal["resid_pre", "resid_post", "attn_heads"]
Site: TypeAlias = tuple[int, SiteName]
Operator: TypeAlias = Callable[[Tensor], Tensor]
"""Takes an activation and returns its replacement, of the same shape.

(batch, tokens, width) at `resid_pre` and `resid_post`; (batch, tokens, heads, head size) at `attn_heads`.
"""
Reader: TypeAlias = Callable[[Tensor], None]
"""Is shown an activation, after all writes at the same site; copies what it wants to keep."""


@contextmanager
def writing(structure: Structure, edits: Mapping[Site, Operator]) -> Iterator[None]:
    """Replace activations while the scope lasts.

    Args:
        structure: The model's parts, from `LocalModel.structure`.
        edits: One operator a site.

    Raises:
        InputError: A site has an unknown name.
        ModelError: The model has no such layer or no heads there.
    """
    with _installed(structure, [(site, operator, None) for site, operator in edits.items()]):
        yield


@contextmanager
def reading(structure: Structure, sites: Iterable[Site], reader: Callable[[Site, Tensor], None]) -> Iterator[None]:
    """Show activations to `reader` while the scope lasts.

    Args:
        structure: The model's parts.
        sites: Where to read.
        reader: Called with the site and its activation at every forward pass. It must copy what it keeps: the tensor
            belongs to the model.

    Raises:
        InputError: A site has an unknown name.
        ModelError: The model has no such layer or no heads there.
    """

    def show(site: Site) -> Reader:
        return lambda activation: reader(site, activation)

    with _installed(structure, [(site, None, show(site)) for site in sites]):
        yield


@dataclass(eq=False)
class _Station:
    """The one hook at a site, and who wants to write and read there."""

    heads: tuple[int, int] | None
    writers: list[Operator] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    handle: Any = None

    def pass_through(self, activation: Tensor) -> Tensor:
        shown = activation.reshape(*activation.shape[:-1], *self.heads) if self.heads else activation
        for write in tuple(self.writers):
            replaced = write(shown)
            if replaced.shape != shown.shape:
                raise InputError(
                    f"an operator returned the shape {tuple(replaced.shape)} for an activation of {tuple(shown.shape)}"
                )
            shown = replaced
        for read in tuple(self.readers):
            read(shown)
        if not self.writers:
            return activation
        return shown.flatten(-2) if self.heads else shown

    def before(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Pre-hook: the activation is the first argument, by place or by name."""
        if args:
            return (self.pass_through(_tensor(args[0])), *args[1:]), kwargs
        name = "hidden_states" if "hidden_states" in kwargs else next(iter(kwargs), None)
        if name is None:
            raise ModelError("a module was called without arguments, so there is no activation to read")
        return args, {**kwargs, name: self.pass_through(_tensor(kwargs[name]))}

    def after(self, _module: nn.Module, _args: Any, output: Any) -> Any:
        """Hook: the activation is the output or its first item."""
        if isinstance(output, (tuple, list)):
            return type(output)([self.pass_through(_tensor(output[0])), *output[1:]])
        return self.pass_through(_tensor(output))


# One hook per module and kind, whoever asks: that is what makes the order of scopes irrelevant.
_stations: WeakKeyDictionary[nn.Module, dict[str, _Station]] = WeakKeyDictionary()


@contextmanager
def _installed(structure: Structure, wanted: list[tuple[Site, Operator | None, Reader | None]]) -> Iterator[None]:
    placed: list[tuple[nn.Module, str, _Station, Operator | None, Reader | None]] = []
    try:
        for site, operator, reader in wanted:
            module, kind, heads = _resolve(structure, site)
            station = _station(module, kind, heads)
            placed.append((module, kind, station, operator, reader))
            if operator is not None:
                station.writers.append(operator)
            if reader is not None:
                station.readers.append(reader)
        yield
    finally:
        for module, kind, station, operator, reader in placed:
            # by identity: two scopes may hold equal operators
            station.writers = _without(station.writers, operator)
            station.readers = _without(station.readers, reader)
            if not station.writers and not station.readers and station.handle is not None:
                station.handle.remove()
                station.handle = None
                _stations[module].pop(kind, None)


def _station(module: nn.Module, kind: str, heads: tuple[int, int] | None) -> _Station:
    stations = _stations.setdefault(module, {})
    if kind not in stations:
        station = stations[kind] = _Station(heads=heads)
        if kind == "after":
            station.handle = module.register_forward_hook(station.after, prepend=True)
        else:
            station.handle = module.register_forward_pre_hook(station.before, prepend=True, with_kwargs=True)
    return stations[kind]


def _resolve(structure: Structure, site: Site) -> tuple[nn.Module, str, tuple[int, int] | None]:
    layer, name = site
    if name == "resid_pre":
        return structure.block(layer).module, "before", None
    if name == "resid_post":
        return structure.block(layer).module, "after", None
    if name == "attn_heads":
        attention = structure.attention(layer)
        return attention.projection, "before", (attention.heads, attention.head_size)
    raise InputError(f"unknown site {name!r}; there are: {', '.join(get_args(SiteName))}")


def _without(items: list[Any], item: Any) -> list[Any]:
    for index in range(len(items) - 1, -1, -1):
        if items[index] is item and item is not None:
            return items[:index] + items[index + 1 :]
    return items


def _tensor(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise ModelError(f"expected an activation tensor at this site, got {type(value).__name__}")
    return value

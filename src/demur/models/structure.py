"""Finds the parts of any decoder by structure: blocks, attention, MLP, norm, unembedding.

No list of architectures. The blocks are the shallowest list of as many modules as the configuration says there are
layers; everything else is found inside them or around them, and one forward pass over two tokens checks what was found:
that blocks pass on one residual stream of the hidden size, and which norm reads the last block's output. A model that
does not fit (several residual streams, no attention at all) is refused with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from demur.errors import ModelError

__all__ = ["AttentionSite", "Block", "Structure", "discover"]

# The projection that writes attention's result into the residual stream, under every name it has in transformers.
_PROJECTIONS = ("o_proj", "out_proj", "dense", "c_proj", "wo")
_ATTENTION = ("attn", "attention")
_MLPS = ("mlp", "feed_forward", "ffn", "block_sparse_moe", "moe")


@dataclass(frozen=True, eq=False)
class AttentionSite:
    """Where the heads of one layer are written to the residual stream.

    Attributes:
        path: Name of the projection inside its block, e.g. `self_attn.o_proj`.
        projection: The output projection; its input is the heads side by side.
        heads: Number of heads.
        head_size: Width of one head, from the projection and not from the configuration.
        linear: Whether this is a linear-attention mixer of a hybrid model.
    """

    path: str
    projection: nn.Module
    heads: int
    head_size: int
    linear: bool


@dataclass(frozen=True, eq=False)
class Block:
    """One decoder block.

    Attributes:
        index: Layer number, from 0.
        module: The block; its first positional argument is the residual stream.
        attention: Where its heads are, or None in a layer without attention (a convolution, a state-space mixer).
        mlp: The feed-forward part, or None when it is spread over the block itself (OPT).
        returns_tuple: Whether the block returns a tuple whose first item is the residual stream.
    """

    index: int
    module: nn.Module
    attention: AttentionSite | None
    mlp: nn.Module | None
    returns_tuple: bool


@dataclass(frozen=True, eq=False)
class Structure:
    """What `discover` found.

    Attributes:
        blocks: The decoder blocks in order.
        blocks_path: Name of their list in the model, e.g. `model.layers`.
        norm: The norm between the last block and the unembedding, or None.
        norm_path: Its name.
        unembedding: The module that turns states into logits.
        width: Size of the residual stream (d_model).
    """

    blocks: tuple[Block, ...]
    blocks_path: str
    norm: nn.Module | None
    norm_path: str | None
    unembedding: nn.Module
    width: int

    def __len__(self) -> int:
        return len(self.blocks)

    def attention(self, layer: int) -> AttentionSite:
        """The heads of `layer`.

        Raises:
            ModelError: There is no such layer, or it has no attention heads that can be told apart.
        """
        site = self.block(layer).attention
        if site is None:
            having = [block.index for block in self.blocks if block.attention]
            raise ModelError(f"layer {layer} has no attention heads; layers that have: {_ranges(having)}")
        return site

    def block(self, layer: int) -> Block:
        """The block of `layer`; negative numbers count from the last.

        Raises:
            ModelError: There is no such layer.
        """
        if not -len(self.blocks) <= layer < len(self.blocks):
            raise ModelError(f"there is no layer {layer}; this model has the layers 0 to {len(self.blocks) - 1}")
        return self.blocks[layer]

    def describe(self) -> dict[str, str]:
        """What was found, as label and text, for `demur doctor`."""
        layouts: dict[str, list[int]] = {}
        for block in self.blocks:
            site = block.attention
            kind = "linear, " if site and site.linear else ""
            text = f"{site.path} ({kind}{site.heads} heads of {site.head_size})" if site else "none"
            layouts.setdefault(text, []).append(block.index)
        attention = "; ".join(
            text if len(layouts) == 1 else f"{text} in layers {_ranges(layers)}" for text, layers in layouts.items()
        )
        first = self.blocks[0]
        mlps = Counter(type(block.mlp).__name__ for block in self.blocks if block.mlp is not None)
        return {
            "blocks": f"{len(self.blocks)} x {type(first.module).__name__} at {self.blocks_path}",
            "block output": "tuple" if first.returns_tuple else "tensor",
            "residual width": str(self.width),
            "attention output": attention,
            "mlp": ", ".join(f"{count} x {name}" for name, count in mlps.items()) or "not a module of its own",
            "final norm": f"{self.norm_path} ({type(self.norm).__name__})" if self.norm is not None else "none found",
            "unembedding": type(self.unembedding).__name__,
        }


def discover(model: Any) -> Structure:
    """Find the parts of a causal language model of transformers.

    Args:
        model: A `PreTrainedModel` with a language-modelling head.

    Raises:
        ModelError: The model is no decoder with one residual stream and attention; the message says what was found.
    """
    name = type(model).__name__
    config = model.config.get_text_config(decoder=True)
    if getattr(model.config, "is_encoder_decoder", False):
        raise ModelError(f"{name} has an encoder and a decoder; demur reads decoder-only models")
    width, count = config.hidden_size, config.num_hidden_layers
    path, layers, parent = _find_layers(model, count, name)
    unembedding = model.get_output_embeddings()
    if unembedding is None:
        raise ModelError(f"{name} has no language-modelling head; load the checkpoint as a causal language model")
    seen = _watch(model, list(layers), parent)
    for index, output in enumerate(seen.blocks):
        if output is None:
            raise ModelError(f"block {index} of {name} did not run in a forward pass, so its states cannot be read")
        residual = _residual(output)
        if residual is None or residual.ndim != 3 or residual.shape[-1] != width:
            shape = "no tensor" if residual is None else f"shape {tuple(residual.shape)}"
            raise ModelError(
                f"{name} keeps more than one residual stream or none: block {index} passes on {shape}, expected "
                f"(batch, tokens, {width}). Directions and steering are not defined on it; generation works"
            )
    blocks = tuple(
        Block(
            index=index,
            module=layer,
            attention=_find_attention(layer, config, index, name),
            mlp=next((child for child_name, child in layer.named_children() if child_name in _MLPS), None),
            returns_tuple=isinstance(seen.blocks[index], (tuple, list)),
        )
        for index, layer in enumerate(layers)
    )
    if not any(block.attention and not block.attention.linear for block in blocks):
        kinds = ", ".join(sorted({type(child).__name__ for layer in layers for child in layer.children()}))
        raise ModelError(
            f"{name} has no softmax attention with an output projection (its blocks hold: {kinds}): a state-space or "
            "recurrent model, whose states at a position are not what the methods here read. Generation works"
        )
    last = _residual(seen.blocks[-1])
    found = next(((n, m) for n, m, given in seen.norms if last is not None and torch.equal(given, last)), None)
    if found is None and seen.norms:
        raise ModelError(
            f"no norm of {name} reads what the last block passes on, so the unembedding works on something else than "
            "the residual stream (several streams that are mixed at the end). Generation works"
        )
    parent_path = path.rpartition(".")[0]
    norm_path = None if found is None else f"{parent_path}.{found[0]}".lstrip(".")
    return Structure(
        blocks=blocks,
        blocks_path=path,
        norm=found[1] if found else None,
        norm_path=norm_path,
        unembedding=unembedding,
        width=width,
    )


def _find_layers(model: nn.Module, count: int, name: str) -> tuple[str, nn.ModuleList, nn.Module]:
    """The shallowest list of `count` modules, the text decoder's before another tower's."""
    find: Any = getattr(model, "get_decoder", None)
    decoder = find() if find else None
    inside = {id(module) for module in decoder.modules()} if isinstance(decoder, nn.Module) else set()
    candidates = [
        (id(module) not in inside, path.count("."), path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    if not candidates:
        raise ModelError(f"{name} has no list of {count} modules, the number of layers in its configuration")
    _, _, path, layers = min(candidates, key=lambda candidate: candidate[:3])
    return path, layers, model.get_submodule(path.rpartition(".")[0])


def _find_attention(layer: nn.Module, config: Any, index: int, name: str) -> AttentionSite | None:
    found = []
    for path, module in layer.named_modules():
        parent, _, leaf = path.rpartition(".")
        if leaf.lower() in _PROJECTIONS and "cross" not in parent and _in_attention(layer, parent):
            found.append((path, parent, module))
    if not found:
        if any(word in child for child, _ in layer.named_children() for word in _ATTENTION):
            children = ", ".join(path for path, _ in layer.named_modules() if path)
            raise ModelError(
                f"layer {index} of {name} has attention, but no output projection called {', '.join(_PROJECTIONS)}; "
                f"its modules are: {children}"
            )
        return None
    path, parent, projection = min(found, key=lambda item: item[0].count("."))
    owner = layer.get_submodule(parent)
    linear = "linear" in parent or hasattr(owner, "num_v_heads")
    inputs = _inputs(projection)
    heads = int(getattr(owner, "num_v_heads", None) or getattr(owner, "num_heads", None) or config.num_attention_heads)
    if inputs % heads:
        raise ModelError(f"layer {index} of {name}: {path} takes {inputs} inputs, which {heads} heads do not divide")
    return AttentionSite(path=path, projection=projection, heads=heads, head_size=inputs // heads, linear=linear)


def _in_attention(layer: nn.Module, path: str) -> bool:
    """Whether the module at `path` in a block is attention or a part of it, by name or by class."""
    parts = path.split(".") if path else []
    names = [*parts, *(type(layer.get_submodule(".".join(parts[: n + 1]))).__name__ for n in range(len(parts)))]
    return any(word in name.lower() for name in names for word in _ATTENTION)


def _inputs(projection: nn.Module) -> int:
    """Width of a projection's input."""
    inputs = getattr(projection, "in_features", None) or getattr(
        projection, "nx", None
    )  # nx: the transposed layer of GPT-2
    if inputs is None:
        weight = getattr(projection, "weight", None)
        if not isinstance(weight, Tensor):
            raise ModelError(f"the width of {type(projection).__name__} cannot be read")
        inputs = weight.shape[-1]
    return int(inputs)


@dataclass(eq=False)
class _Seen:
    """What one forward pass showed."""

    blocks: list[Any]
    norms: list[tuple[str, nn.Module, Tensor]]


def _watch(model: Any, layers: list[nn.Module], parent: nn.Module) -> _Seen:
    """Run two tokens and keep each block's output and the input of every norm beside the blocks."""
    seen = _Seen(blocks=[None] * len(layers), norms=[])
    handles = []

    def keep_output(index: int) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            seen.blocks[index] = output

        return hook

    def keep_input(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            if args and isinstance(args[0], Tensor):
                seen.norms.append((name, module, args[0]))

        return hook

    device = model.get_input_embeddings().weight.device
    ids = torch.zeros((1, 2), dtype=torch.long, device=device)
    try:
        handles = [layer.register_forward_hook(keep_output(i)) for i, layer in enumerate(layers)]
        handles += [module.register_forward_pre_hook(keep_input(name)) for name, module in _norms(parent)]
        with torch.no_grad():
            model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    except Exception as error:  # whatever a model's own code raises
        raise ModelError(f"{type(model).__name__} failed on a forward pass over two tokens: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _norms(parent: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in parent.named_children():
        if "norm" in name.lower() or "norm" in type(child).__name__.lower() or name == "ln_f":
            yield name, child


def _residual(output: Any) -> Tensor | None:
    """The residual stream in what a block returned."""
    if isinstance(output, (tuple, list)):
        output = output[0] if output else None
    return output if isinstance(output, Tensor) else None


def _ranges(numbers: list[int]) -> str:
    """`0-2, 5` for [0, 1, 2, 5]."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in parts) or "none"

"""Writes the encoder as an ONNX file with 8-bit weights; used by training only, needs the package `onnx`.

What enters a linear layer is quantised with fixed scales, so a row's result does not depend on what else is in its
batch, as it would with a scale found for each batch. Channels that swing far are damped before and their weights raised
in turn (the idea of SmoothQuant, arXiv 2211.10438), without which fixed scales would cost accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["HEADS", "WIDTH", "quantise_rows", "write_graph"]

WIDTH, HEADS = 384, 12
"""Width of the hidden states and attention heads, as in the pretrained encoder."""

# How much of a channel's swing moves into its weights. 0.8 came closest to 32-bit arithmetic (0.5, 0.65, 0.8, 1 were
# tried).
_SMOOTHING = 0.8
# Weights use 7 of the 8 bits: processors without VNNI add pairs of products in 16 bits, which 8 bits would overflow.
_WEIGHT_STEPS = 63
_EPSILON = 1e-12  # of the pretrained encoder's layer norms
_CONTRIB = "com.microsoft"  # onnxruntime's own operators: attention, and the 8-bit product that ends in floats

Weights = Mapping[str, NDArray[np.float32]]


def quantise_rows(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A table as 8-bit numbers and one scale a row: shapes `(rows, columns)` and `(rows, 1)`."""
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-8) / 127.0
    return np.round(table / scale).astype(np.int8), scale.astype(np.float32)


class _Graph:
    """Nodes and constants in the order in which they are added."""

    def __init__(self, weights: Weights, swings: Weights) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.weights, self.swings = weights, swings

    def constant(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def add(self, kind: str, *inputs: str, name: str, domain: str = "", **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, domain=domain, **attributes))
        return name

    def linear(self, x: str, *names: str) -> list[str]:
        """The linear layers `names`, all fed by `x`, which is quantised once for them."""
        kernels = [self.weights[f"{name}.weight"] for name in names]
        swing = np.maximum(self.swings[names[0]], 1e-4)
        reach = np.maximum(np.max([np.abs(kernel).max(axis=0) for kernel in kernels], axis=0), 1e-4)
        damping = swing**_SMOOTHING / reach ** (1 - _SMOOTHING)
        damping /= np.exp(np.log(damping).mean())
        key = names[0]
        scale = self.constant(f"{key}.step", np.array((swing / damping).max() / 127.0, dtype=np.float32))
        middle = self.constant(f"{key}.middle", np.array(128, dtype=np.uint8))
        damped = self.add(
            "Mul", x, self.constant(f"{key}.damping", (1 / damping).astype(np.float32)), name=f"{key}.damped"
        )
        codes = self.add("QuantizeLinear", damped, scale, middle, name=f"{key}.codes")
        return [
            self._product(codes, scale, middle, name, kernel * damping)
            for name, kernel in zip(names, kernels, strict=True)
        ]

    def _product(self, codes: str, scale: str, middle: str, name: str, kernel: NDArray[np.float32]) -> str:
        steps = np.abs(kernel).max(axis=1) / _WEIGHT_STEPS
        whole = np.round(kernel / steps[:, None]).astype(np.int8)
        return self.add(
            "MatMulIntegerToFloat", codes, self.constant(f"{name}.weight", np.ascontiguousarray(whole.T)), scale,
            self.constant(f"{name}.steps", steps.astype(np.float32)), middle, "",
            self.constant(f"{name}.bias", self.weights[f"{name}.bias"]), name=name, domain=_CONTRIB,
        )  # fmt: skip

    def norm(self, x: str, name: str) -> str:
        scale = self.constant(f"{name}.weight", self.weights[f"{name}.weight"])
        shift = self.constant(f"{name}.bias", self.weights[f"{name}.bias"])
        return self.add("LayerNormalization", x, scale, shift, name=name, axis=-1, epsilon=_EPSILON)


def _embed(graph: _Graph) -> str:
    table, scale = quantise_rows(graph.weights["word.weight"])
    codes = graph.add("Gather", graph.constant("word.codes", table), "ids", name="word.picked")
    scales = graph.add("Gather", graph.constant("word.scale", scale), "ids", name="word.scales")
    words = graph.add("Mul", graph.add("Cast", codes, name="word.float", to=1), scales, name="word")
    zero, one = graph.constant("zero", np.zeros(1, np.int64)), graph.constant("one", np.ones(1, np.int64))
    length = graph.add("Shape", "ids", name="length", start=1, end=2)
    table_of_places = graph.constant("place.weight", graph.weights["place.weight"])
    places = graph.add("Slice", table_of_places, zero, length, zero, one, name="place")
    summed = graph.add("Add", words, places, name="embedded")
    return graph.norm(summed, "norm")


def _layer(graph: _Graph, x: str, name: str) -> str:
    heads = graph.linear(x, f"{name}.query", f"{name}.key", f"{name}.value")
    mixed = graph.add(
        "MultiHeadAttention", *heads, "", "live.whole", name=f"{name}.mixed", domain=_CONTRIB, num_heads=HEADS
    )
    (out,) = graph.linear(mixed, f"{name}.output")
    x = graph.norm(graph.add("Add", x, out, name=f"{name}.sum1"), f"{name}.norm1")
    (wide,) = graph.linear(x, f"{name}.wide")
    (narrow,) = graph.linear(graph.add("Gelu", wide, name=f"{name}.gelu"), f"{name}.narrow")
    return graph.norm(graph.add("Add", x, narrow, name=f"{name}.sum2"), f"{name}.norm2")


def _pool(graph: _Graph, x: str, live: str, zero: str) -> str:
    """The first token's state beside the mean over all tokens."""
    share = graph.add("Cast", live, name="live.float", to=1)
    last, middle = graph.constant("last", np.array([-1], np.int64)), graph.constant("middle", np.array([1], np.int64))
    share = graph.add("Unsqueeze", share, last, name="live.column")
    total = graph.add("ReduceSum", graph.add("Mul", x, share, name="masked"), middle, name="total", keepdims=0)
    mean = graph.add("Div", total, graph.add("ReduceSum", share, middle, name="count", keepdims=0), name="mean")
    return graph.add("Concat", graph.add("Gather", x, zero, name="first", axis=1), mean, name="pooled", axis=1)


def write_graph(weights: Weights, swings: Weights, layers: int, path: Path) -> None:
    """Writes the encoder: `ids` of shape `(rows, tokens)` in, `logits` of shape `(rows, outputs)` out.

    Args:
        weights: Arrays under the names of the network's state.
        swings: Largest absolute value of each channel that enters a linear layer, by the layer's name, as seen on
            training rows.
        layers: How many transformer layers there are.
        path: Where the file goes.
    """
    import onnx
    from onnx import TensorProto, helper

    graph = _Graph(weights, swings)
    zero = graph.constant("padding", np.array(0, np.int64))
    live = graph.add("Not", graph.add("Equal", "ids", zero, name="is.padding"), name="live")
    graph.add("Cast", live, name="live.whole", to=TensorProto.INT32)
    x = _embed(graph)
    for index in range(layers):
        x = _layer(graph, x, f"layers.{index}")
    pooled = _pool(graph, x, live, zero)
    head, bias = (
        graph.constant("head.weight", weights["head.weight"]),
        graph.constant("head.bias", weights["head.bias"]),
    )
    graph.add("Gemm", pooled, head, bias, name="logits", transB=1)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, "demur-accurate",
            [helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows", "tokens"])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", len(weights["head.bias"])])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid(_CONTRIB, 1)],
        producer_name="demur", ir_version=9,
    )  # fmt: skip
    onnx.save(model, path)

"""How kernels are compiled: by numba, for fixed types, kept on disk, without holding the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

__all__ = [
    "BYTES",
    "FLAGS",
    "FLOATS",
    "HASHES",
    "INTS",
    "SHORTS",
    "Bytes",
    "Flags",
    "Floats",
    "Hashes",
    "Ints",
    "Shorts",
    "array",
    "compiled",
    "inlined",
    "types",
]  # fmt: skip

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Shorts = NDArray[np.int16]
Hashes = NDArray[np.uint64]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])


def array(dtype: Any, dimensions: int = 1) -> Any:
    """Numba's type of a contiguous array that is only read; arrays that can be written are taken, too."""
    return types.Array(dtype, dimensions, "C", readonly=True)


BYTES, SHORTS, INTS = array(types.uint8), array(types.int16), array(types.int64)
HASHES, FLAGS, FLOATS = array(types.uint64), array(types.boolean), array(types.float64)


def compiled(*arguments: Any) -> Callable[[_Kernel], _Kernel]:
    """Compiles a function for arguments of these types when its module is imported, or loads its machine code."""
    return cast("Callable[[_Kernel], _Kernel]", numba.njit(arguments, cache=True, nogil=True, error_model="numpy"))


def inlined(function: _Kernel) -> _Kernel:
    """Makes a part of the kernels of its own module; numba does not see when parts in other modules change."""
    return cast("_Kernel", numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")(function))

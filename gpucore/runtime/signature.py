"""What launches look at in an array."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from gpucore.ir.dtypes import DType, bf16
from gpucore.ir.nodes import Layout
from gpucore.ir.records import RecordType

__all__ = ["Check", "Math", "Signature"]

Math = Literal["strict", "fast"]
Check = Literal[False, True, "auto"]


class Signature:
    """What a launch looks at in an array: one object for each kind of array of a context, compared by
    identity.

    Attributes
    ----------
    check, math : {False, True, "auto"}, {"strict", "fast"}
        Options of the context.
    dtype : DType
    rank : int
    layout : {"contiguous", "rows", "strided"}
        As kernels see it: see :class:`gpucore.ir.nodes.Memory`.
    contiguous : bool
    small : bool
        Fewer than 2**31 elements from the lowest to the highest, and no extent past that.
    outside : bool
        Memory that another library owns, which may overlap other arrays.
    numpy : numpy.dtype | None
        What an ndarray's dtype is compared with by identity; None for ``bf16``, which NumPy has not, and records.
    vector : bool
        Whether NumPy sees the elements as an axis more.
    """

    __slots__ = (
        "check",
        "contiguous",
        "dtype",
        "layout",
        "math",
        "numpy",
        "outside",
        "rank",
        "small",
        "vector",
    )

    def __init__(
        self, check: Check, math: Math, dtype: DType, rank: int, layout: Layout, small: bool, outside: bool
    ) -> None:
        self.check: Check = check
        self.math: Math = math
        self.dtype = dtype
        self.rank = rank
        self.layout: Layout = layout
        self.contiguous = layout == "contiguous"
        self.small = small
        self.outside = outside
        record = isinstance(dtype, RecordType)
        self.numpy: np.dtype[Any] | None = None if dtype is bf16 or record else dtype.numpy
        self.vector = isinstance(dtype, RecordType) and dtype.record == "vec"

"""Arrays on a device, and what they look like."""

from __future__ import annotations

import html
import math
import types
from threading import get_ident
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    NoReturn,
    SupportsIndex,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

import numpy as np
import numpy.typing as npt

from gpucore._messages import absent_from_array
from gpucore.errors import LaunchError
from gpucore.ir.dtypes import DType
from gpucore.ir.nodes import Layout
from gpucore.runtime import PublicNames, copies
from gpucore.runtime.geometry import (
    Signature,
    as_extent,
    as_shape,
    c_strides,
    dummy_of,
    layout_of,
    packed_strides,
    reshaped_strides,
)

if TYPE_CHECKING:
    from typing import Self

    from gpucore.runtime.context import Context
    from gpucore.runtime.memory_block import Block, Owner
    from gpucore.runtime.stream import Stream

__all__ = ["Array", "html_text", "values_text"]


def html_text(array: Array[Any]) -> str:
    """A line of facts and the values."""
    text, why = values_text(array, "")
    facts = html.escape(f"Array, {array._summary()}, {array.nbytes:,} bytes{why}")
    # many values scroll: the next cell stays in sight
    style = "max-height: 20em; overflow: auto; font-size: smaller"
    values = "" if text is None else f'<pre style="{style}">{html.escape(text)}</pre>'
    return f"<div><b>{facts}</b></div>{values}"


def values_text(array: Array[Any], prefix: str) -> tuple[str | None, str]:
    """The values as NumPy prints them, or None and why there are none to show; that an error of a kernel is still unread."""
    if array._block.home is None:
        return None, f", gone: {array._block.why}"
    try:
        shown = copies.edges(array)
        array.context._state.deliver_prints()
        is_doubtful = array.context._state.has_unread_error()
    except Exception as error:  # noqa: BLE001 - a repr says what is wrong, it never raises
        return None, f", values not shown: {error}"
    with np.printoptions(threshold=0 if shown.shape != array.shape else max(shown.size, 1)):
        text = np.array2string(shown, separator=", ", prefix=prefix)
    return text, ", a kernel failed: context.synchronize() raises its error" if is_doubtful else ""


T = TypeVar("T")
Key: TypeAlias = "SupportsIndex | slice | types.EllipsisType | None"
"""What may stand between brackets: basic slicing."""
_SMALL = 2**31
_TO_ELSEWHERE = "; write .numpy() for an ndarray, or .to(gpucore.Context(...)) for another device"


class _Fields:
    """What an array is made of, while it is being made; as an Array it is fixed."""

    __slots__ = (
        "__weakref__", "_block", "_offset", "_owner", "_packed", "_sig", "context", "dtype", "nbytes", "ndim",
        "shape", "size", "strides",
    )  # fmt: skip
    context: Context
    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    ndim: int
    size: int
    nbytes: int
    _owner: Owner | None
    _block: Block
    _offset: int
    _sig: Signature
    _packed: tuple[Any, ...]
    """What a launch passes: allocation, byte offset, extents; of views the offset of the lowest element, and after the extents
    the strides in elements and how many elements lie below the first one.
    """

    @property
    def T(self) -> Self:  # here, since in Array the name is a type variable's
        """The view with the axes in the opposite order, for kernels that take :class:`gc.Strided` arrays."""
        view = dummy_of(self.shape, self.strides).T
        found: Self = cast("Any", self)._view(view.shape, view.strides, self._offset)
        return found


class Array(_Fields, Generic[T], metaclass=PublicNames):
    """Elements of one type in a device's memory; made by a context.

    Arithmetic is what kernels are for: an Array has no operators, and ``==`` compares identity, as for any object.

    Attributes
    ----------
    context : Context
    dtype : DType
    shape : tuple[int, ...]
    strides : tuple[int, ...]
        In bytes.
    ndim, size, nbytes : int
    """

    __slots__ = ()
    __gpucore_array__ = True
    __hash__ = object.__hash__

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("arrays are made by a context: Context.array, empty, zeros, ones, full")

    if not TYPE_CHECKING:

        def __class_getitem__(cls, parameters: Any) -> types.GenericAlias:
            """``Array[dtype]`` or ``Array[dtype, rank]`` in the annotations of kernels."""
            return types.GenericAlias(cls, parameters)

    @classmethod
    def _make(
        cls,
        context: Context,
        owner: Owner | None,
        dtype: DType,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None = None,
        offset: int = 0,
    ) -> Array[Any]:
        self = object.__new__(_Fields)
        size = math.prod(shape)
        layout: Layout = "contiguous" if strides is None else layout_of(shape, strides, dtype.itemsize)
        self.context = context
        self.dtype = dtype
        self.shape = shape
        self.strides = c_strides(shape, dtype.itemsize) if strides is None else strides
        self.ndim = len(shape)
        self.size = size
        self.nbytes = size * dtype.itemsize
        self._owner = owner
        self._block = owner.block if owner is not None else context._state.no_block
        self._offset = offset
        # an array of size zero may still have an extent past 2**31
        scalars = size if dtype.kind != "record" else self.nbytes
        packed: tuple[int, ...] = (offset, *shape)
        if layout != "contiguous":
            steps, below = packed_strides(shape, self.strides, dtype.itemsize)
            span = below + 1 + sum((n - 1) * max(step, 0) for n, step in zip(shape, steps, strict=True))
            scalars = span if dtype.kind != "record" else span * dtype.itemsize
            packed = (offset - below * dtype.itemsize, *shape, *steps, below)
        small = scalars < _SMALL and (size > 0 or max(shape, default=0) < _SMALL)
        key = (context.check, context.math, dtype, self.ndim, layout, small, self._block.outside)
        known = context._state.signatures
        # setdefault, so that two threads end up with one object
        self._sig = known.get(key) or known.setdefault(key, Signature(*key))
        self._packed = (self._block.allocation if size else None, *packed)
        self.__class__ = cls
        return cast("Array[Any]", self)

    def _template(self) -> _Fields:
        """What is the same for all arrays of the context, dtype and shape; it holds no memory."""
        other = _Fields()
        other.context, other.dtype, other.shape, other.strides = (
            self.context,
            self.dtype,
            self.shape,
            self.strides,
        )
        other.ndim, other.size, other.nbytes, other._sig = self.ndim, self.size, self.nbytes, self._sig
        return other

    @classmethod
    def _twin(cls, template: _Fields, owner: Owner, packed: tuple[Any, ...]) -> Array[Any]:
        """An array as a template says, of what is packed: a fifth of the time of ``_make``."""
        self = object.__new__(_Fields)
        self.context, self.dtype, self.shape, self.strides = (
            template.context, template.dtype, template.shape, template.strides,
        )  # fmt: skip
        self.ndim, self.size, self.nbytes, self._sig = (
            template.ndim,
            template.size,
            template.nbytes,
            template._sig,
        )
        self._owner, self._block, self._offset, self._packed = owner, owner.block, packed[1], packed
        self.__class__ = cls
        return cast("Array[Any]", self)

    # --- shape
    @property
    def _contiguous(self) -> bool:
        return self._sig.contiguous

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __repr__(self) -> str:
        text, why = values_text(self, "Array(")
        if text is None:
            return f"<Array {self._summary()}{why}>"
        return f"Array({text}, shape={self.shape}, dtype={self.dtype}, device={self._where()}{why})"

    def _repr_html_(self) -> str:
        """What notebooks show: a line of facts and the values."""
        return html_text(self)

    def _where(self) -> str:
        device = self.context.device
        return f"{device.backend}:{device.ordinal}"

    def _summary(self) -> str:
        return f"{self.dtype} {self.shape} on {self._where()}"

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("an Array lives on a device and is not copied behind your back; write .numpy()")

    def __bool__(self) -> NoReturn:
        raise TypeError("an Array has no truth value; copy it to the host with .numpy() first")

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        instead = {
            "shape": "; write .reshape(...)",
            "dtype": "; convert with a kernel or .numpy().astype(...)",
        }
        raise AttributeError(f"an Array's {name} cannot be set{instead.get(name, '')}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"an Array's {name} cannot be deleted")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            "an Array lives on a device and can be neither pickled nor copied by the copy module; pass "
            ".numpy(), or copy it with context.array(array)"
        )

    # --- what is meant by what an ndarray can do and an Array cannot
    def __iter__(self) -> NoReturn:
        self._not_iterable()

    def _not_iterable(self, element: object = None) -> NoReturn:
        # iterating would make one view an element
        raise TypeError("an Array is not iterable; iterate over .numpy()")

    __contains__ = _not_iterable

    def __setitem__(self, key: Key | tuple[Key, ...], value: T) -> None:
        raise TypeError(
            "an Array's elements are not assigned from the host; write array[...].fill(number), "
            "array[...].copy_from(ndarray), or a kernel"
        )

    def __float__(self) -> NoReturn:
        raise TypeError("an Array is no number; copy it to the host first: float(array.numpy())")

    def __int__(self) -> NoReturn:
        raise TypeError("an Array is no number; copy it to the host first: int(array.numpy())")

    def _no_operator(self, other: object = None) -> NoReturn:
        raise TypeError(
            "an Array has no operators; write a kernel, or compute on the host with .numpy() "
            "(== compares identity)"
        )

    __add__ = __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = __pow__ = __matmul__ = _no_operator
    __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __rpow__ = _no_operator
    __rmatmul__ = __and__ = __or__ = __xor__ = __lshift__ = __rshift__ = _no_operator
    __rand__ = __ror__ = __rxor__ = __rlshift__ = __rrshift__ = __divmod__ = __rdivmod__ = _no_operator
    __neg__ = __pos__ = __abs__ = __invert__ = __lt__ = __le__ = __gt__ = __ge__ = _no_operator

    if not TYPE_CHECKING:  # a misspelt name is for type checkers to find

        def __getattr__(self, name: str) -> Any:
            # only names of array interfaces of other libraries end up here
            if name.startswith("__") and name.endswith("_array_interface__"):
                from gpucore.runtime.interchange import array_interface

                return array_interface(self, name)
            raise absent_from_array(name)

    def reshape(self, *shape: int) -> Array[T]:
        """A view of another shape; one extent may be -1.

        Raises
        ------
        ValueError
            When the sizes differ, or a strided array cannot be seen in that shape without a copy.
        """
        if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)):
            shape = tuple(shape[0])
        extents = [as_extent(extent) for extent in shape]
        if extents.count(-1) > 1:
            raise ValueError("only one extent of a shape may be -1")
        if -1 in extents:
            rest = math.prod(extent for extent in extents if extent != -1)
            if rest == 0 or self.size % rest:
                raise ValueError(f"an array of {self.size} elements cannot be reshaped to {tuple(extents)}")
            extents[extents.index(-1)] = self.size // rest
        new = as_shape(extents)
        if math.prod(new) != self.size:
            raise ValueError(f"an array of {self.size} elements cannot be reshaped to {new}")
        if self._contiguous:
            return self._view(new, None, self._offset)
        try:
            strides = reshaped_strides(dummy_of(self.shape, self.strides), new)
        except (AttributeError, ValueError):
            raise ValueError(
                f"this strided view cannot be reshaped to {new} without a copy; write "
                ".contiguous().reshape(...)"
            ) from None
        return self._view(new, strides, self._offset)

    # in kernels, which checkers read as Python, an index gives an element; on the host every key gives a view
    @overload
    def __getitem__(self, key: SupportsIndex | tuple[SupportsIndex, ...]) -> T: ...  # type: ignore[overload-overlap]
    @overload
    def __getitem__(self, key: Key | tuple[Key, ...]) -> Array[T]: ...
    def __getitem__(self, key: Any) -> Any:
        """A view by basic slicing: ints, slices (negative steps too), ``...`` and ``None``, as in NumPy."""
        parts = key if isinstance(key, tuple) else (key,)
        for part in parts:
            is_int = isinstance(part, (int, np.integer)) and not isinstance(part, (bool, np.bool_))
            if not (is_int or part is None or part is Ellipsis or isinstance(part, slice)):
                raise TypeError(
                    f"arrays take ints, slices, ... and None as an index, not {type(part).__name__}; "
                    "for anything else copy to the host with .numpy()"
                )
        if Ellipsis not in [part for part in parts if part is None or part is Ellipsis]:
            parts = (*parts, Ellipsis)  # keeps a fully indexed result a view, not a NumPy scalar
        dummy = dummy_of(self.shape, self.strides)
        view = dummy[parts]
        start = view.__array_interface__["data"][0] - dummy.__array_interface__["data"][0] if view.size else 0
        return self._view(view.shape, view.strides, self._offset + start)

    def _view(self, shape: tuple[int, ...], strides: tuple[int, ...] | None, offset: int) -> Array[T]:
        self._block_alive()
        return Array._make(self.context, self._owner, self.dtype, shape, strides, offset)

    # --- life
    def _block_alive(self) -> Block:
        block = self._block
        if block.home is None:
            raise LaunchError(f"the array is gone: {block.why}")
        return block

    def free(self) -> None:
        """Give the memory back now, in stream order; views of it are gone too.  Twice does nothing."""
        if self._owner is not None:
            recorder = self.context._state.recorders.get(get_ident())
            if recorder is None or not recorder.keeps(self):
                self._block.pool.release(self._block)

    # --- contents
    def numpy(self, out: npt.NDArray[Any] | None = None, *, stream: Stream | None = None) -> npt.NDArray[Any]:
        """Copy to the host.

        Parameters
        ----------
        out : ndarray, optional
            Where to; same shape and dtype.
        stream : Stream, optional
            Whose work so far is waited for; without it all work that uses the array so far.

        Returns
        -------
        ndarray
            ``out``, or a new one.

        Raises
        ------
        KernelBoundsError, KernelAssertionError, KernelDivisionError
            What a checked kernel found since the last blocking call.
        """
        out = np.empty(self.shape, self._sig.numpy or self.dtype.numpy) if out is None else out
        copies.download(self, out, stream, block=True)
        return out

    def copy_from(self, source: npt.NDArray[Any] | Array[Any], *, stream: Stream | None = None) -> Self:
        """Overwrite with the contents of an ndarray or another array of the same shape and dtype."""
        if isinstance(source, Array):
            copies.device_to_device(self, source, stream)
        else:
            copies.upload(self, source, stream)
        return self

    def copy_to(self, target: npt.NDArray[Any] | Array[Any], *, stream: Stream | None = None) -> None:
        """Copy into an ndarray or another array of the same shape and dtype."""
        if isinstance(target, Array):
            copies.device_to_device(target, self, stream)
        else:
            copies.download(self, target, stream, block=False)

    def to(self, context: Context, *, stream: Stream | None = None) -> Array[T]:
        """This array in another context: itself where it is there already, else a copy."""
        from gpucore.runtime.context import Context

        if not isinstance(context, Context):
            instead = _TO_ELSEWHERE if isinstance(context, str) else ""
            raise TypeError(f"to() takes a Context, not {type(context).__name__}: {context!r}{instead}")
        self._block_alive()
        if context._state is self.context._state:
            return self
        return copies.to_context(self, context, stream)

    def fill(self, value: float, *, stream: Stream | None = None) -> Self:
        """Set every element to ``value``."""
        copies.fill(self, value, stream)
        return self

    def host(self) -> npt.NDArray[Any]:
        """An ndarray on the same memory, of an array made by ``ctx.unified``; waits for all work on it.

        What kernels write later is seen in it once something has waited for them, such as another ``host()``. The host writes to
        it only while no work on the array is pending.

        Raises
        ------
        NotSupportedError
            For an array in other memory.
        """
        from gpucore.runtime import user_memory

        return user_memory.host_view(self)

    def prefetch(self, where: Literal["device", "host"], *, stream: Stream | None = None) -> None:
        """Move an array in unified memory to where it is used next, in stream order; a hint, which changes no result."""
        from gpucore.runtime import user_memory

        user_memory.prefetch(self, where, stream)

    def contiguous(self) -> Array[T]:
        """The array itself where it is C-contiguous, else a contiguous copy."""
        self._block_alive()
        return self if self._contiguous else copies.make_contiguous(self)

    # --- exchange
    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        """A DLPack capsule that shares the memory; ``stream`` is the consumer's."""
        from gpucore.runtime import interchange

        return interchange.export(self, stream, max_version, dl_device, copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        """DLPack's type and number of the device."""
        from gpucore.runtime import interchange

        return interchange.device_of(self)

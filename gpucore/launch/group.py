"""Several devices of one host: arrays in shards, launches over them, and what the devices exchange."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt

from gpucore.errors import GpucoreError, LaunchError
from gpucore.ir.dtypes import DType, DTypeLike, bool_
from gpucore.ir.records import RecordType
from gpucore.launch.configured import StreamLaunch
from gpucore.launch.kernel import ConfiguredKernel, Kernel
from gpucore.runtime import ProcessBound
from gpucore.runtime.array import Array
from gpucore.runtime.context import Context
from gpucore.runtime.peer import of_device

if TYPE_CHECKING:
    from gpucore.launch.all_reduce import AllReduce
    from gpucore.launch.repeated_reduce import RepeatedReduce

__all__ = ["Group", "Sharded"]

_MOST_LAUNCHES = 256
Operation = Literal["sum", "min", "max"]


class Sharded(ProcessBound):
    """An array in pieces, or in copies, one on each device of a group; made by a :class:`Group`.

    Attributes
    ----------
    shards : tuple[Array, ...]
        In the order of the group's devices.  Reading one reports what kernels of its own device found; see :meth:`Group.gather`.
    axis : int | None
        The axis along which the pieces follow one another; None where each device has a whole array of its own.
    """

    __slots__ = ("_checked", "_repeated", "axis", "shards")

    def __init__(self, shards: Sequence[Array[Any]], axis: int | None) -> None:
        self.shards = tuple(shards)
        self.axis = axis
        self._checked: tuple[object, object] = (
            None,
            None,
        )  # contexts that were seen to fit, and the shards then
        self._repeated: RepeatedReduce | None = (
            None  # what the last all-reduce of these arrays left for the next
        )

    def __repr__(self) -> str:
        shapes = ", ".join(str(shard.shape) for shard in self.shards)
        how = "a copy each" if self.axis is None else f"along axis {self.axis}"
        return f"<Sharded {self.shards[0].dtype}, {how}: {shapes}>"

    def __len__(self) -> int:
        return len(self.shards)


class Group(ProcessBound):
    """Devices that work together: a context on each, and streams on which they exchange data.

    A device may be listed twice; it then counts as two.

    Parameters
    ----------
    selectors : sequence of str
        One for each device, as ``Context`` takes them.

    Attributes
    ----------
    contexts : tuple[Context, ...]

    Raises
    ------
    BackendNotFoundError, BackendUnavailableError, PluginError, ConfigError
        Of the first device that cannot be opened; those before it are closed again.
    """

    def __init__(self, selectors: Sequence[str]) -> None:
        if isinstance(selectors, str) or not isinstance(selectors, Sequence) or not selectors:
            raise LaunchError(
                f"a group takes a list of selectors, one for each device, as in ['cpu:0', 'cpu:1'], not {selectors!r}"
            )
        with contextlib.ExitStack() as opened:
            self.contexts = tuple(opened.enter_context(Context(selector)) for selector in selectors)
            opened.pop_all()
        self._closed = False
        self._reducer: AllReduce | None = None
        self._launches: dict[
            tuple[Kernel | ConfiguredKernel, int, tuple[int, ...] | None], ConfiguredKernel
        ] = {}

    def __repr__(self) -> str:
        return f"<Group {', '.join(_name(context) for context in self.contexts)}>"

    def __len__(self) -> int:
        return len(self.contexts)

    # --- data
    def scatter(self, data: npt.ArrayLike, axis: int = 0, *, dtype: DTypeLike | None = None) -> Sharded:
        """Cut ``data`` along an axis and give each device a piece, in order; lengths differ by one at most.

        Parameters
        ----------
        data : array_like
        axis : int
        dtype : dtype, optional
            As ``Context.array`` takes it: convert to it first; of structs and vectors their type.
        """
        host = _on_host(data, dtype, "scatter")
        ndim = host.ndim - _is_vector(dtype)
        if ndim < 1:
            raise LaunchError("a number has no axis along which to cut it; write group.replicate(number)")
        axis = _as_axis(axis, ndim)
        pieces = np.array_split(host, len(self.contexts), axis)
        return Sharded(self._each(lambda n, context: context.array(pieces[n], dtype)), axis)

    def replicate(self, data: npt.ArrayLike, *, dtype: DTypeLike | None = None) -> Sharded:
        """Give each device a copy of ``data``; ``dtype`` is as for :meth:`scatter`."""
        host = _on_host(data, dtype, "replicate")
        return Sharded(self._each(lambda n, context: context.array(host, dtype)), None)

    def gather(self, sharded: Sharded) -> npt.NDArray[Any]:
        """The whole array on the host: the pieces side by side, or the first device's copy.

        Raises
        ------
        KernelBoundsError, KernelAssertionError, KernelDivisionError
            What a checked kernel found; the message names the device.  Of copies, of which the first is read, also what
            kernels of the other devices have found by then: theirs may have gone into it by an all-reduce.
        """
        shards = self._own(sharded, "gather")
        if sharded.axis is None:
            with on(self.contexts[0]):
                first = shards[0].numpy()
            for context in self.contexts:
                with on(context):
                    context._state.raise_found()
            return first
        # what the devices still do goes on in all of them while the first is waited for
        return np.concatenate(self._each(lambda n, context: shards[n].numpy()), sharded.axis)

    # --- work
    def launch(self, kernel: Kernel | ConfiguredKernel, *args: Any, **named_args: Any) -> None:
        """Launch a kernel on every device, over its shard.

        The range is the shape of the first argument that is cut into pieces, or of the first copy where none is.  A kernel that
        has its launch shape, ``kernel.over(shape)`` or ``kernel[grid, block]``, is launched with that on each device.

        Parameters
        ----------
        kernel : Kernel or ConfiguredKernel
            A kernel with as many global ids as the shards have axes, or a kernel with its launch shape.
        *args, **named_args
            ``Sharded`` stands for each device's own array; numbers and compile-time values are the same for all.

        Raises
        ------
        LaunchError
            Where the kernel or an argument does not fit; the message names the device, a note where it ran.
        """
        if isinstance(kernel, StreamLaunch):
            raise LaunchError(
                "a group launches on each device's default stream, and a stream is of one device: each device has streams of "
                f"its own; leave stream= away from {kernel!r}, or launch on each of group.contexts"
            )
        if not isinstance(kernel, (Kernel, ConfiguredKernel)):
            raise LaunchError(f"launch() takes a kernel and its arguments, not {kernel!r}")
        sharded = [arg for arg in (*args, *named_args.values()) if isinstance(arg, Sharded)]
        if not sharded:
            name = (kernel if isinstance(kernel, Kernel) else kernel.kernel).__name__
            raise LaunchError(
                f"{name}: no argument is Sharded, so nothing says on which arrays to launch; make one with "
                "group.scatter(...) or group.replicate(...)"
            )
        for arg in sharded:
            self._own(arg, kernel)
        over = next((arg for arg in sharded if arg.axis is not None), sharded[0])
        for number, context in enumerate(self.contexts):
            given = [_part(arg, number) for arg in args]
            more = {name: _part(arg, number) for name, arg in named_args.items()}
            try:
                for arg in sharded:
                    block = arg.shards[number]._block
                    if block.users:  # what the group's own streams still read or write comes first
                        block.join_streams()
                shape = over.shards[number].shape if isinstance(kernel, Kernel) else None
                launch = self._launches.get((kernel, number, shape))
                if launch is None:
                    launch = self._configure(kernel, number, shape)
                launch(*given, **more)
            except GpucoreError as error:
                if number:
                    error.add_note(f"it ran on {', '.join(map(_name, self.contexts[:number]))}")
                raise named(error, context) from None

    def _configure(
        self, kernel: Kernel | ConfiguredKernel, number: int, shape: tuple[int, ...] | None
    ) -> ConfiguredKernel:
        """The kernel with its launch shape for one device alone, which remembers its last launch there."""
        if isinstance(kernel, Kernel):
            assert shape is not None
            kernel.over(shape)  # refuses what is no range
            made: ConfiguredKernel = ConfiguredKernel(kernel, (), (), shape)
        else:
            made = ConfiguredKernel(kernel.kernel, kernel.grid, kernel.block, kernel.shape)
        while len(self._launches) >= _MOST_LAUNCHES:
            del self._launches[next(iter(self._launches))]
        self._launches[kernel, number, shape] = made
        return made

    def all_reduce(self, sharded: Sharded, op: Operation = "sum") -> Sharded:
        """Combine the devices' arrays element by element; every device gets the result.

        The order is that of the devices, ``((a0 + a1) + a2) + a3`` on each of them, so all get the same bits.  It runs on
        streams of the group's own, beside later work; what uses the result, or writes what was combined, waits if it is
        launched by the group.

        Parameters
        ----------
        sharded : Sharded
            Arrays of one shape and dtype.  Strided views are copied first.
        op : {"sum", "min", "max"}

        Raises
        ------
        LaunchError
            Where shapes or dtypes differ, or a context is closed; the message names the device.  Where the dtype has no such
            operation.
        """
        if sharded.__class__ is Sharded and sharded._repeated is not None:
            again = sharded._repeated.again(self._reducer, sharded.shards, op)
            if again is not None:
                return Sharded(again, None)
        shards = self._own(sharded, "all_reduce")
        if op not in ("sum", "min", "max"):
            raise LaunchError(f"all_reduce knows 'sum', 'min' and 'max', not {op!r}")
        first = shards[0]
        for array, context in zip(shards, self.contexts, strict=True):
            with on(context):
                context._state.check()
                array._block_alive()
            if (array.shape, array.dtype) != (first.shape, first.dtype):
                raise LaunchError(
                    f"all_reduce combines arrays of one shape and dtype: {_name(context)} has {array.dtype} {array.shape}, "
                    f"{_name(self.contexts[0])} has {first.dtype} {first.shape}"
                )
        _check_operation(first.dtype, op)
        try:
            if self._reducer is None:
                from gpucore.launch.all_reduce import AllReduce

                self._reducer = AllReduce(self.contexts)
            reducer = self._reducer
            parts = tuple(array.contiguous() for array in shards)
            results = reducer(parts, op)
        except LaunchError:
            for context in self.contexts:
                with on(context):
                    context._state.check()  # another thread may have closed it meanwhile
            raise
        if all(part is array for part, array in zip(parts, shards, strict=True)):
            sharded._repeated = reducer.repeated(shards, op, results)
        return Sharded(results, None)

    # --- life
    def synchronize(self) -> None:
        """Wait for the work of all devices; raises the first error, naming the device, with the others as notes."""
        self._all(lambda context: context.synchronize())

    def close(self) -> None:
        """Close every context, also where one of them fails; closing twice does nothing."""
        self._closed = True
        self._forget()
        self._all(lambda context: context.close())

    def __enter__(self) -> Self:
        if self._closed:
            raise LaunchError("the group is closed; make another: gc.Group([...])")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        self._closed = True
        self._forget()
        for context in self.contexts:
            context.__exit__(kind, error, trace)

    # --- helpers
    def _forget(self) -> None:
        self._reducer = None
        self._launches.clear()

    def _all(self, action: Callable[[Context], None]) -> None:
        failure: GpucoreError | None = None
        for context in self.contexts:
            try:
                with on(context):
                    action(context)
            except GpucoreError as error:
                if failure is None:
                    failure = error
                else:
                    failure.add_note(str(error))
        if failure is not None:
            raise failure

    def _each(self, make: Callable[[int, Context], Any]) -> list[Any]:
        made = []
        for number, context in enumerate(self.contexts):
            with on(context):
                made.append(make(number, context))
        return made

    def _own(self, sharded: Sharded, user: str | Kernel | ConfiguredKernel) -> tuple[Array[Any], ...]:
        if not isinstance(sharded, Sharded):
            raise LaunchError(
                f"{_who(user)} takes what scatter() and replicate() make, not {type(sharded).__name__}: {sharded!r}"
            )
        if sharded._checked[0] is self.contexts and sharded._checked[1] is sharded.shards:
            return sharded.shards
        if len(sharded.shards) != len(self.contexts):
            raise LaunchError(
                f"{_who(user)}: the array has {len(sharded.shards)} shards, and the group {len(self.contexts)} devices"
            )
        for array, context in zip(sharded.shards, self.contexts, strict=True):
            if array.context._state.closed:
                raise LaunchError(f"on {_name(array.context)}: {_who(user)}: a shard's context is closed")
            if array.context.device is not context.device:
                raise LaunchError(
                    f"{_who(user)}: a shard is on {_name(array.context)} where the group has {_name(context)}"
                )
        sharded._checked = (self.contexts, sharded.shards)
        return sharded.shards


def _part(arg: Any, number: int) -> Any:
    return arg.shards[number] if isinstance(arg, Sharded) else arg


def _who(user: str | Kernel | ConfiguredKernel) -> str:
    if isinstance(user, str):
        return user
    return (user if isinstance(user, Kernel) else user.kernel).__name__


def _name(context: Context) -> str:
    return of_device(context.device)


def _on_host(data: npt.ArrayLike, dtype: DTypeLike | None, user: str) -> npt.NDArray[Any]:
    """The data as an ndarray that can be cut."""
    if data is None or isinstance(data, Sharded):
        which = "an array that is on the devices already" if isinstance(data, Sharded) else "None"
        raise LaunchError(f"{user}() takes an ndarray, or numbers in lists, not {which}")
    if isinstance(dtype, RecordType) and dtype.record == "struct":
        return np.asarray(data, dtype.numpy)
    host = np.asarray(data)
    if dtype is None and host.dtype.names is not None:
        raise TypeError(
            f"these are structs; say of which type: group.{user}(data, dtype=P) with a class P under gc.struct"
        )
    return host


def _is_vector(dtype: object) -> bool:
    return isinstance(dtype, RecordType) and dtype.record == "vec"


def _check_operation(dtype: DType, op: Operation) -> None:
    """Raise where all-reduce cannot combine such elements."""
    if op == "sum" and dtype is bool_:
        raise LaunchError(
            "all_reduce has no sum of bools; 'max' says whether any is true, 'min' whether all are"
        )
    if not isinstance(dtype, RecordType):
        return
    if dtype.record == "struct":
        raise LaunchError(
            f"all_reduce has no {op} of structs, and these are {dtype}; keep the field that is to be combined in an array of "
            "its own"
        )
    if dtype.record == "complex" and op != "sum":
        raise LaunchError(
            f"all_reduce has no {op} of complex numbers, which have no order; 'sum' adds them, and an array of their "
            "absolute values has a 'min' and a 'max'"
        )
    if dtype.record == "vec" and op != "sum":
        raise LaunchError(
            f"all_reduce has no {op} of vectors, and these are {dtype}; an array of their scalars, with one axis more, has"
        )


def _as_axis(axis: int, ndim: int) -> int:
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)) or not -ndim <= axis < ndim:
        raise LaunchError(f"axis is one of the array's {ndim}, not {axis!r}")
    return int(axis) % ndim


@contextlib.contextmanager
def on(context: Context) -> Iterator[None]:
    """Let errors of a device's work name it."""
    try:
        yield
    except GpucoreError as error:
        raise named(error, context) from None


def named(error: GpucoreError, context: Context) -> GpucoreError:
    """The error, with the device in its message."""
    device = context.device
    if (
        error.args
        and isinstance(error.args[0], str)
        and f"{device.backend}:{device.ordinal}" not in error.args[0]
    ):
        error.args = (f"on {of_device(device)}: {error.args[0]}", *error.args[1:])
    return error

"""Runs generated code: threads, blocks, barriers, subgroups, and what goes wrong in them."""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Callable, Generator, Sequence
from functools import cache, partial, reduce
from types import FunctionType
from typing import Any, NoReturn

from gpucore._messages import shown_file
from gpucore.errors import (
    BarrierDivergenceError,
    DataRaceError,
    KernelAssertionError,
    KernelBoundsError,
    KernelRuntimeError,
    LaunchError,
)
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bf16, f16
from gpucore.ir.interpreter.numerics import encode_half, half_table
from gpucore.ir.interpreter.program import (
    HELPERS,
    ArrayArgument,
    Program,
    Site,
    binary,
    overlap_groups,
    prepare_array,
    prepare_scalar,
    zero,
)
from gpucore.ir.interpreter.shadow import Clock, OrderedClock, joint_shadow
from gpucore.ir.records import array_name, is_of_records, negative_extent

__all__ = ["Launch", "combine"]


_binary = cache(binary)


def combine(op: str, dtype: DType, width: int, values: Sequence[Any], lanes: Sequence[int]) -> list[Any]:
    """The result in each lane.

    Parameters
    ----------
    op : str
    dtype : DType
        Of the first operand.
    width : int
        N, which may exceed the number of lanes that exist.
    values : Sequence
        The first operand, one a lane.
    lanes : Sequence[int]
        The second operand, zeros where there is none.
    """
    count = len(values)
    if op == "sum":
        return _butterfly(values, width, _binary("add", dtype))
    if op in ("min", "max"):
        return [reduce(_binary(op, dtype), values)] * count
    if op == "inclusive_sum":
        return _scan(values, width, _binary("add", dtype))
    if op == "exclusive_sum":
        start: Any = 0.0 if dtype.is_float else 0
        return [start, *_scan(values, width, _binary("add", dtype))[:-1]]
    if op == "any":
        return [any(values)] * count
    if op == "all":
        return [all(values)] * count
    if op == "ballot":
        if width > 64:
            raise LaunchError(f"subgroup_ballot has 64 bits; subgroups here have {width} lanes")
        return [sum(1 << lane for lane, value in enumerate(values) if value)] * count
    if op == "shuffle_xor":
        lanes = [lane ^ mask for lane, mask in enumerate(lanes)]
    return [values[to] if 0 <= to < count else own for own, to in zip(values, lanes, strict=True)]


def _butterfly(values: Sequence[Any], width: int, add: Callable[[Any, Any], Any]) -> list[Any]:
    # missing lanes hold the neutral element, here None, and take part
    slots: list[Any] = [*values]
    step = 1
    while step < width:
        step *= 2
    slots += [None] * (step - len(slots))
    mask = 1
    while mask < width:
        slots = [_add(add, own, slots[lane ^ mask]) for lane, own in enumerate(slots)]
        mask *= 2
    return slots[: len(values)]


def _add(add: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    if a is None:
        return b
    return a if b is None else add(a, b)


def _scan(values: Sequence[Any], width: int, add: Callable[[Any, Any], Any]) -> list[Any]:
    found = list(values)
    distance = 1
    while distance < width:
        found = [
            add(found[lane - distance], own) if lane >= distance else own for lane, own in enumerate(found)
        ]
        distance *= 2
    return found


_Axes = tuple[int, ...]


class Launch:
    """One run of a module over a grid.

    Parameters
    ----------
    module : Module
    program : Program
        Its code.
    grid, block : tuple[int, ...]
    args : Sequence
        In the order of ``module.kernel.params``.
    width : int
        Lanes of a subgroup.
    races : bool
        As the program was made.
    """

    def __init__(
        self,
        module: ir.Module,
        program: Program,
        grid: _Axes,
        block: _Axes,
        args: Sequence[Any],
        *,
        width: int,
        races: bool,
    ) -> None:
        self.module, self.program, self.grid, self.block, self.width = module, program, grid, block, width
        self.name = module.kernel.name
        self.threads = math.prod(block)
        kind = OrderedClock if program.fences else Clock
        self.clock = kind(max(self.threads, 1), len(program.sites)) if races else None
        self.env: dict[str, Any] = dict(HELPERS)
        self.env |= {
            "_gc_R": array("f", (0.0,)), "_gc_width": width, "_gc_fail": self.fail,
            "_gc_undefined": self.undefined, "_gc_allocate": self.allocate,
        }  # fmt: skip
        self.env |= {f"_gc_bd{a}": n for a, n in enumerate(block)}
        self.env |= {f"_gc_gd{a}": n for a, n in enumerate(grid)}
        if isinstance(self.clock, OrderedClock):
            self.env["_gc_fence"] = self.clock.fence
        self.shapes: dict[str, _Axes] = {}
        self.arrays: dict[str, ArrayArgument] = {}
        self.shared: dict[int, ir.Memory] = {}
        self.pending: tuple[int, _Axes, _Axes] | None = None  # the first undefined read of the interval
        self.args = self.prepare(args)
        for function in (*module.functions, module.kernel):
            for memory in function.memories:
                self.declare(memory)
        for key, code in program.codes:
            self.env[key] = FunctionType(code, self.env)
        self.kernel: Callable[..., Any] = self.env[program.codes[-1][0]]

    # --- before the first thread ---
    def prepare(self, args: Sequence[Any]) -> list[Any]:
        params = self.module.kernel.params
        if len(args) != len(params):
            raise LaunchError(f"{self.name} takes {len(params)} arguments, not {len(args)}")
        arrays: list[ArrayArgument] = []
        values: list[Any] = []
        for parameter, value in zip(params, args, strict=True):
            if isinstance(parameter, ir.Value):
                values.append(prepare_scalar(self.name, parameter, value))
                continue
            written = parameter.name in self.program.written
            found = prepare_array(self.name, parameter, value, low=self.program.flat, written=written)
            arrays.append(found)
            values.append(value)
            number = self.program.memories[parameter.name]
            self.env[f"_gc_m_{number}"] = found.flat
            self.env[f"_gc_n_{number}"] = found.size
            self.arrays[parameter.name] = found
            for axis, extent in enumerate((*found.shape, *found.strides)):
                self.env[f"_gc_n_{number}_{axis}"] = extent
            self.shapes[parameter.name] = (found.size,) if self.program.flat else found.shape
            if parameter.dtype in (f16, bf16):
                self.env[f"_gc_values_{parameter.dtype.name}"] = half_table(parameter.dtype)
                self.env[f"_gc_bits_{parameter.dtype.name}"] = partial(encode_half, dtype=parameter.dtype)
        if self.clock is not None:
            self.make_shadows(arrays, self.clock)
        return values

    def make_shadows(self, arrays: list[ArrayArgument], clock: Clock) -> None:
        for argument in arrays:
            self.env[f"_gc_s_{self.program.memories[argument.memory.name]}"] = None
        for group in overlap_groups(arrays):
            if not any(a.memory.name in self.program.written for a in group):
                continue
            extents = [(a.address, a.size, a.memory.dtype.itemsize) for a in group]
            reports = [partial(self.race, a.memory) for a in group]
            for argument, shadow in zip(group, joint_shadow(clock, extents, reports), strict=True):
                self.env[f"_gc_s_{self.program.memories[argument.memory.name]}"] = shadow
        for argument in arrays:
            key = f"_gc_s_{self.program.memories[argument.memory.name]}"
            if self.env[key] is None and argument.memory.name in self.program.written:
                self.env[key] = clock.shadow(0, partial(self.race, argument.memory))  # an empty array

    def declare(self, memory: ir.Memory) -> None:
        number = self.program.memories[memory.name]
        self.shapes[memory.name] = (math.prod(memory.shape),) if self.program.flat else memory.shape
        if memory.space == "const":
            kind: Callable[[Any], Any] = (
                float if memory.dtype.is_float else bool if memory.dtype.kind == "bool" else int
            )
            self.env[f"_gc_m_{number}"] = [kind(v) for v in memory.values]
        elif memory.space == "shared":
            self.shared[number] = memory

    def fresh_shared(self) -> None:
        """New shared memory for a block."""
        for number, memory in self.shared.items():
            self.env[f"_gc_m_{number}"] = None
            if memory.shape:
                self.allocate(number, self.shapes[memory.name])

    def allocate(self, number: int, shape: _Axes) -> None:
        """The shared memory of a block, where no thread came here before: undefined where that is looked for, else zero."""
        key, memory = f"_gc_m_{number}", self.shared[number]
        if self.env[key] is not None:
            return
        self.shapes[memory.name] = shape
        if min(shape) < 0:
            raise negative_extent(self.name, memory.name, shape)
        size = math.prod(shape)
        if self.clock is not None:
            self.env[key] = [None] * size
            self.env[f"_gc_s_{number}"] = self.clock.shadow(size, partial(self.race, memory))
        else:
            self.env[key] = [_zero(memory.dtype)] * size

    # --- running ---
    def run(self) -> None:
        """Run every block, one after another, in the order of their ids."""
        kernel, args, clock = self.kernel, self.args, self.clock
        step = 2 * clock.sites if clock is not None else 0
        places = [
            (*thread, linear, linear * step)
            for linear, thread in enumerate(itertools.product(*map(range, self.block)))
        ]
        waits = self.program.waits
        for block in itertools.product(*map(range, self.grid)):
            if clock is not None:
                clock.next_block()
            if self.shared:
                self.fresh_shared()
            if waits:
                self.run_block(block, [kernel(*args, *block, *place) for place in places])
            else:
                for place in places:
                    kernel(*args, *block, *place)
                self.end_interval()

    def run_block(self, block: _Axes, threads: list[Generator[Any, Any, None]]) -> None:
        """Run a block's threads from stop to stop until all have finished."""
        states: list[Any] = [None] * len(threads)  # what a thread waits for; None has finished
        ready: list[tuple[int, Any]] = [(t, None) for t in range(len(threads))]
        while True:
            for t, answer in ready:
                try:
                    states[t] = threads[t].send(answer)
                except StopIteration:
                    states[t] = None
            ready = self.subgroups(states)
            if ready:
                continue
            first = states[0] if states else None
            if any(s != first for s in states) or isinstance(first, tuple):
                self.divergence(block, states)
            self.end_interval()
            if first is None:
                return
            if self.clock is not None:
                self.clock.next_interval()
            ready = [(t, None) for t in range(len(threads))]

    def subgroups(self, states: list[Any]) -> list[tuple[int, Any]]:
        """Answers for the subgroups whose lanes have all arrived at one operation."""
        ready: list[tuple[int, Any]] = []
        if not any(isinstance(s, tuple) for s in states):
            return ready
        for start in range(0, len(states), self.width):
            lanes = states[start : start + self.width]
            first = lanes[0]
            if not isinstance(first, tuple):
                continue
            site = first[0]
            if not all(isinstance(s, tuple) and s[0] == site for s in lanes):
                continue
            op = self.program.sites[site].message
            dtype = self.program.sites[site].dtype
            assert dtype is not None
            answers = combine(op, dtype, self.width, [s[1] for s in lanes], [s[2] for s in lanes])
            ready += [(start + lane, answer) for lane, answer in enumerate(answers)]
        return ready

    # --- reports ---
    def global_id(self, block: Sequence[int], thread: Sequence[int]) -> _Axes:
        """A thread's global id."""
        return tuple(b * n + t for b, n, t in zip(block, self.block, thread, strict=True))

    def place_of(self, block: int, linear: int) -> _Axes:
        """The global id of a thread by the numbers of its block and of itself."""
        return self.global_id(_unravel(block, self.grid), _unravel(linear, self.block))

    def line(self, site: Site) -> str:
        """Where a site stands, for messages."""
        return f"{shown_file(site.loc.file)}:{site.loc.line}" if site.loc is not None else "an unknown line"

    def fields(self, site: Site) -> dict[str, Any]:
        loc = site.loc
        return {
            "kernel": self.name,
            "filename": loc.file if loc is not None else None,
            "lineno": loc.line if loc is not None else None,
            "array": array_name(site.memory.name) if site.memory is not None else None,
            "shape": self.user_axes(site.memory, self.shapes[site.memory.name])
            if site.memory is not None
            else None,
        }

    def user_axes(self, memory: ir.Memory, axes: _Axes) -> _Axes:
        """An index or a shape as the user has it: the last axis of a memory of records is within them."""
        inner = not self.program.flat and is_of_records(memory.name)
        return axes[:-1] if inner else axes

    def fail(
        self,
        number: int,
        index: _Axes | None,
        block: _Axes | None,
        thread: _Axes | None,
        shape: _Axes | None = None,
    ) -> NoReturn:
        """An index out of bounds, of an array or of a slice of that shape, or an assert that does not hold."""
        site = self.program.sites[number]
        fields = self.fields(site)
        if shape is not None and site.memory is not None:
            fields["shape"] = self.user_axes(site.memory, shape)
        if block is not None and thread is not None:
            fields["thread"] = self.global_id(block, thread)
        by = f" in thread {fields['thread']}" if "thread" in fields else ""
        if site.kind == "assert":
            message = f"{self.line(site)}: assert failed in kernel {self.name}{by}"
            raise KernelAssertionError(message + (f": {site.message}" if site.message else ""), **fields)
        if index is not None and site.memory is not None:
            index = self.user_axes(site.memory, index)
        part = "a slice of " if shape is not None else ""
        message = (
            f"{self.line(site)}: index {index} is out of bounds for {part}{fields['array']} "
            f"of shape {fields['shape']}, {site.kind} in kernel {self.name}{by}"
        )
        raise KernelBoundsError(message, index=index, **fields)

    def undefined(self, number: int, index: _Axes, block: _Axes, thread: _Axes) -> Any:
        """A read of shared memory that nobody wrote yet; gives zero for now.

        Should another thread write the element before the next barrier, it is a race, and told as one; so
        the report waits until then.
        """
        memory = self.program.sites[number].memory
        assert memory is not None
        if self.pending is None:
            self.pending = (number, index, self.global_id(block, thread))
        return _zero(memory.dtype)

    def end_interval(self) -> None:
        """All threads of the block reached a barrier, or the end."""
        if self.pending is not None:
            number, index, thread = self.pending
            site = self.program.sites[number]
            fields = self.fields(site)
            raise KernelRuntimeError(
                f"{self.line(site)}: shared memory {fields['array']}{list(index)} is read in kernel "
                f"{self.name} by thread {thread}, but no thread of its block wrote it",
                index=index,
                thread=thread,
                **fields,
            )

    def race(self, memory: ir.Memory, element: int, number: int, offset: int, other: int) -> NoReturn:
        """Two accesses without order."""
        clock = self.clock
        assert clock is not None
        site = self.program.sites[number]
        other_block, other_linear, other_number = clock.decode(other)
        other_site = self.program.sites[other_number]
        here = self.place_of(len(clock.starts) - 1, offset // (2 * clock.sites))
        there = self.place_of(other_block, other_linear)
        found = self.arrays.get(memory.name)
        place = _unravel(element, self.shapes[memory.name])
        if found is not None and found.strides and not self.program.flat:
            place = found.index_of(element)
        index = self.user_axes(memory, place)
        verbs = {"load": "reads", "store": "writes", "atomic": "uses an atomic on"}
        name = array_name(memory.name)
        theirs = array_name(other_site.memory.name) if other_site.memory is not None else name
        alias = f" (as {theirs}, which overlaps)" if theirs != name else ""
        raise DataRaceError(
            f"data race on {name}{list(index)} in kernel {self.name}: thread {here} {verbs[site.kind]}"
            f" it at {self.line(site)}, thread {there} {verbs[other_site.kind]} it{alias} at "
            f"{self.line(other_site)}, and nothing orders the two (detect_races=False runs it all the same)",
            index=index,
            thread=here,
            other_thread=there,
            other_lineno=other_site.loc.line if other_site.loc is not None else None,
            **self.fields(site),
        )

    def divergence(self, block: _Axes, states: list[Any]) -> NoReturn:
        """The threads of a block wait for different things, or some have finished."""
        sites = [None if s is None else s[0] if isinstance(s, tuple) else s for s in states]
        waiting = min((s for s in sites if s is not None), key=lambda s: (sites.count(s), -s))
        # a subgroup operation hangs on its own subgroup, so blame the lanes of one
        for s in sites:
            if s is not None and self.program.sites[s].kind == "subgroup":
                waiting = s
                break
        site = self.program.sites[waiting]
        inside = sites.index(waiting)
        peers = range(len(sites))
        if site.kind == "subgroup":
            start = inside // self.width * self.width
            peers = range(start, min(start + self.width, len(sites)))
            stop = [t for t in peers if sites[t] != waiting]
            what = f"subgroup_{site.message}"
        else:
            stop = [t for t in peers if sites[t] != waiting]
            what = "the barrier"
        absent = stop[0]
        there = sites[absent]
        doing = "has finished" if there is None else f"waits at {self.line(self.program.sites[there])}"
        who = self.global_id(block, _unravel(absent, self.block))
        raise BarrierDivergenceError(
            f"{self.line(site)}: not every thread reaches {what} in kernel {self.name}: thread "
            f"{self.global_id(block, _unravel(inside, self.block))} waits there, thread {who} {doing}",
            thread=who,
            **{k: v for k, v in self.fields(site).items() if k not in ("array", "shape")},
        )


def _zero(dtype: DType) -> Any:
    return {"0.0": 0.0, "False": False, "0": 0}[zero(dtype)]


def _unravel(linear: int, shape: Sequence[int]) -> _Axes:
    found = []
    for extent in reversed(shape):
        linear, rest = divmod(linear, extent)
        found.append(rest)
    return tuple(reversed(found))

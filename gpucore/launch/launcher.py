"""Launchers: the launch functions of a kernel for one combination of argument types, and the programs that they call.

A launcher does not depend on the launch shape. What a shape needs of its own, a grid, a block and the backend's call, is prepared
at its first launch and kept with the configured kernel.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpucore.compile.pipeline import Param, Program, Variant
from gpucore.errors import KernelBoundsError, LaunchError
from gpucore.hookspecs import LaunchConfig
from gpucore.lang.types import ConstValue
from gpucore.launch.arguments import reads_of
from gpucore.launch.calls import (
    Call,
    FunctionCall,
    RecordedCall,
    as_function,
    backend_call,
    bind_arguments,
    can_bind,
    has_record,
    indirect,
    is_object,
    overlap,
    preparer,
    record_use,
)  # fmt: skip
from gpucore.launch.launch_conditions import CheckOption, Choice, LaunchBounds
from gpucore.launch.launch_function import Arguments, LaunchText, Mode, compile_text
from gpucore.launch.shapes import LaunchShape, LaunchShapes, ShapeKind

if TYPE_CHECKING:
    from gpucore.ir.bounds.polynomials import HostTerm
    from gpucore.ir.passes.checks import Check
    from gpucore.launch.configured import ConfiguredKernel
    from gpucore.launch.in_turn import Merged, Turns
    from gpucore.launch.kernel import Specialization
    from gpucore.runtime.geometry import Signature
    from gpucore.runtime.state import ContextState
    from gpucore.runtime.stream import Stream

__all__ = ["Launcher", "Launchers"]

_MOST_MERGED = 16
_MOST_LAUNCHERS = 256


class Launcher:
    """The launch functions for one kernel, kind of shape, and combination of argument types.

    Parameters
    ----------
    state : ContextState
        Whose memory, default stream and device the launches use.
    stream_state : ContextState or None
        Of the streams that launches name; None for launches on the default stream.
    check : {False, True, "auto"}
        As in :class:`gpucore.Context`.
    first : ConfiguredKernel
        The launch shape of the first launch: the functions are written for the parameters of its program.
    args : Sequence
        Its arguments.
    """

    launch_class: type[Any]
    """The class of configured kernels (of their launches on streams) whose last launch was this launcher's: its ``__call__``
    is :meth:`call`'s function.
    """

    def __init__(
        self,
        arguments: Arguments,
        specialization: Specialization,
        state: ContextState,
        stream_state: ContextState | None,
        check: CheckOption,
        first: ConfiguredKernel,
        args: Sequence[Any],
    ) -> None:
        self.kind = kind = first.kind
        self.state = state
        self.on_stream = stream_state is not None
        self.recorded = False
        self._is_new = True
        self.merged: weakref.WeakSet[Merged] = weakref.WeakSet()
        self._stream_state = stream_state or state
        self._arguments = arguments
        self._specialization = specialization
        self._check = check
        self._shapes: dict[Check, LaunchShapes] = {}
        self._bounds: dict[Any, LaunchBounds] = {}
        self._first_bounds: LaunchBounds | None = None
        self._first_level: Check = False
        self._first_shared: tuple[int, ...] = ()
        self._programs: dict[Any, tuple[Program, Callable[[LaunchConfig], Call], bool]] = {}
        params: Sequence[Param] | None = None
        enqueue: Call | None = None
        binds = self._objects = True
        if not kind.is_empty:
            first.kernel.latest = first
            if check or specialization.sized_module is not None:
                self._first_bounds = self._bounds_for(first)
            if self._first_bounds is not None:
                self._first_level = self._first_bounds.safe
                if specialization.sized_module is not None:
                    reads = reads_of(self._first_bounds.terms, arguments.parameters, args)
                    self._first_shared = self._shared(first, self._first_bounds, reads)
            shape = self._shape(first, self._first_level)
            program, prepare, self.recorded = self._program(
                shape, True, self._first_level, self._first_shared
            )
            params = program.params
            enqueue = prepare(shape.config)
            if self.recorded:
                enqueue = self._with_record(program, enqueue)
            self._objects, binds = is_object(enqueue), can_bind(enqueue)
        self._text = LaunchText(
            arguments,
            params,
            given_stream=self.on_stream,
            recorded=self.recorded,
            binds=binds,
            objects=self._objects,
            reads=self._reads(),
        )
        self._text.values |= self._values()
        # of launches with conditions: what they read last, what was compiled for it, and the conditions
        unchosen = (Choice(None, self._first_level, None, self._first_shared),) if self.is_conditional else ()
        self.unprepared = (self, None, *unchosen, *(object() for _ in range(self._text.fields)), None)
        """What the launch functions find for a shape that was never launched."""
        first.remember((self, enqueue, *self.unprepared[2:]))

    # --- checks
    @property
    def is_conditional(self) -> bool:
        """Whether what runs depends on extents, scalars or the launch shape."""
        bounds = self._first_bounds
        return bounds is not None and not (bounds.is_proven and not self._specialization.needs_block)

    @functools.cached_property
    def reads_scalars(self) -> bool:
        """Whether the values of scalars decide what is launched."""
        return any(term.kind not in ("extent", "range", "grid", "block") for term in self._reads() or ())

    def _reads(self) -> tuple[HostTerm, ...] | None:
        if not self.is_conditional:
            return None
        assert self._first_bounds is not None
        return self._first_bounds.terms

    def _bounds_for(self, configured: ConfiguredKernel) -> LaunchBounds | None:
        """What the host knows of accesses in launches of this shape."""
        shape = self._shape(configured, False)
        block = shape.config.block if self._specialization.needs_block else None
        found = self._bounds.get((shape.small, block))
        if found is None:
            specialization, kind = self._specialization, self.kind
            summary = specialization.bounds_summary(
                self.state,
                self._candidates(configured),
                is_range=kind.is_range,
                small=shape.small,
                block=block,
            )
            if summary is None:
                return None
            first = self._first_bounds
            terms = None if first is None else first.terms
            analyse = functools.partial(
                specialization.bounds, is_range=kind.is_range, small=shape.small, block=block
            )
            found = LaunchBounds(summary, self._check, self._arguments.kernel, terms, analyse)
            self._bounds[shape.small, block] = found
        return found

    def _candidates(self, configured: ConfiguredKernel) -> list[Variant]:
        """What may be compiled where the conditions hold, as far as it does not depend on overlaps."""
        if self._specialization.sized_module is not None:
            return []
        levels: tuple[Check, ...] = ("known",) if self._check is True else (False, "device")
        shapes = [(self._shape(configured, level), self._shapes[level]) for level in levels]
        return [by_level.variant(shape, True) for shape, by_level in shapes]

    def choose(
        self, configured: ConfiguredKernel, enqueue: Call | None, chosen: Choice, reads: tuple[int, ...]
    ) -> tuple[Call, Choice]:
        """The call for a launch that reads other extents or scalars than the last one, and what to remember of it.

        Raises
        ------
        KernelBoundsError
            Where the launch leaves an array for certain.
        """
        last, bounds = (chosen.level, chosen.shared), chosen.bounds
        known = bounds or self._bounds_for(configured)
        assert known is not None
        shared = self._shared(configured, known, reads)
        if bounds is None:
            bounds = known
            if self._shape(configured, bounds.unsafe).small != self._shape(configured, False).small:
                bounds = None
        try:
            level = self._unsafe if bounds is None else bounds.level(configured, reads)
        except KernelBoundsError as error:
            raise error.with_traceback(None) from None  # the frames below say nothing to the user
        if enqueue is None or (level, shared) != last:
            enqueue = self.prepare(configured, level=level, shared=shared)
        return enqueue, Choice(reads, level, bounds, shared)

    def _shared(
        self, configured: ConfiguredKernel, bounds: LaunchBounds, reads: tuple[int, ...]
    ) -> tuple[int, ...]:
        """As :meth:`LaunchBounds.shared`, where there are such arrays."""
        module = self._specialization.sized_module
        return () if module is None else bounds.shared(configured, reads, module, self.state.toolchain)

    @property
    def _unsafe(self) -> Check:
        return True if self._check is True else "all"

    # --- programs
    def _shape(self, configured: ConfiguredKernel, level: Check) -> LaunchShape:
        shapes = self._shapes.get(level)
        if shapes is None:
            shapes = self._shapes[level] = LaunchShapes(
                self._arguments.kernel,
                self._specialization,
                self.state.device,
                check=level,
                small=all(s.small for s in self._arguments.signatures if s is not None),
                is_range=self.kind.is_range,
            )
        return shapes.of(configured.grid, configured.block, configured.shape)

    def _program(
        self, shape: LaunchShape, noalias: bool, level: Check, shared: tuple[int, ...]
    ) -> tuple[Program, Callable[[LaunchConfig], Call], bool]:
        """The program for a launch shape, compiled where there is none yet, what prepares its calls, whether it has a record."""
        shapes = self._shapes[level]
        key = (level, shared, *shapes.key(shape, noalias))
        found = self._programs.get(key)
        if found is None:
            variant = replace(shapes.variant(shape, noalias), shared=shared)
            program = self._specialization.program(self.state, variant)
            found = self._programs[key] = program, preparer(self.state, program), has_record(program)
        return found

    # --- what launch functions call
    def prepare(
        self,
        configured: ConfiguredKernel,
        noalias: bool = True,
        level: Check | None = None,
        shared: tuple[int, ...] | None = None,
    ) -> Call:
        """The backend's call for the shape of a configured kernel."""
        configured.kernel.latest = configured
        level = self._first_level if level is None else level
        shared = self._first_shared if shared is None else shared
        shape = self._shape(configured, level)
        program, prepare, recorded = self._program(shape, noalias, level, shared)
        call = prepare(shape.config)
        if recorded or self.recorded:
            call = self._with_record(program, call)
        if is_object(call) is self._objects:
            return call
        return FunctionCall(call) if self._objects else as_function(call)

    def _with_record(self, program: Program, call: Call) -> Call:
        """A call as the launch functions use it, where the program or that of the first launch has an error record: with the
        stream where the first has one, else with its handle."""
        if not has_record(program):
            return indirect(lambda stream, *packed: call(stream._handle, *packed))
        recorded = RecordedCall(self.state, program, call)
        if self.recorded:
            return recorded
        # the launch function gives the handle of the stream: the first program of these types has no record
        return indirect(lambda handle, *packed: recorded(self._stream_of(handle), *packed))

    def _stream_of(self, handle: Any) -> Stream:
        return next(stream for stream in self._stream_state.live_streams() if stream._handle is handle)

    def overlapping(self, configured: ConfiguredKernel, chosen: Choice | None = None) -> Call:
        """The call for arrays that share memory, one of which the kernel writes."""
        level, shared = (
            (self._first_level, self._first_shared) if chosen is None else (chosen.level, chosen.shared)
        )
        known = configured._overlapping
        if known is None:
            known = configured._overlapping = {}
        call = known.get((self, level, shared))
        if call is None:
            call = self.prepare(configured, noalias=False, level=level, shared=shared)
            known[self, level, shared] = call
        return call

    # --- the launch functions
    def _values(self) -> dict[str, Any]:
        device, stream = self.state.device, self.state.default_stream
        return {
            "LAUNCHER": self,
            "DEVICE": device,
            "STATE": self._stream_state,
            "STREAM": stream,
            "TIMELINE": stream._timeline,
            "STREAM_HANDLE": stream._handle,
            "NOTE_LAUNCH": device._recent.append,
            "RECORD_USE": record_use,
            "OVERLAP": overlap,
            "OVERLAPPING": self.overlapping,
            "OBSERVATION": self.state.observation,
            "PREPARE": self.prepare,
            "CHOOSE": self.choose,
            "BIND": bind_arguments,
        }

    @property
    def signatures(self) -> tuple[Signature | None, ...]:
        """Of each argument that is an array."""
        return self._arguments.signatures

    def text_and_values(self) -> tuple[str, dict[str, Any]]:
        """The text of :meth:`call`'s function, and its global names but for ``CACHE_MISS``."""
        return self._text.write("call"), self._text.values

    def _function(self, mode: Mode, *, observed: bool = False, **values: Any) -> Callable[..., Any]:
        text = self._text.write(mode, observed=observed)
        return self.compile(text, {**self._text.values, **values}, "observed" if observed else "")

    def compile(self, text: str, values: dict[str, Any], which: str) -> Callable[..., Any]:
        """The function of a text, named after what is launched."""
        device, kind = self.state.device, self.kind
        shapes = f"{kind.ndim}-axis {'ranges' if kind.is_range else 'grids'}{' of size zero' if kind.is_empty else ''}"
        what = f"{self._arguments.kernel}, {shapes}, {device.backend}:{device.ordinal}"
        if which:
            what = f"{what}, {which}"
        return compile_text(text, values, what, dump="launch" in self.state.settings.dump)

    def take_first(self) -> bool:
        """Whether nobody asked before: whether a launch is the first of this launcher."""
        first, self._is_new = self._is_new, False
        return first

    @property
    def launch_known(self) -> Callable[..., None]:
        """:attr:`known`, or where somebody looks at launches the function that hands them over."""
        return self._known_observed if self.state.observation.active else self.known

    @functools.cached_property
    def _known_observed(self) -> Callable[..., None]:
        return self._function("known", observed=True)

    @functools.cached_property
    def known(self) -> Callable[..., None]:
        """``known(configured, prepared, [stream,] *arguments)`` launches arguments whose types were looked up just now."""
        return self._function("known")

    @functools.cached_property
    def matches(self) -> Callable[..., bool]:
        """``matches([stream,] *arguments)``: whether they are of the types that the launcher is for."""
        return self._function("matches")

    @functools.cached_property
    def pack(self) -> Callable[..., tuple[Call | None, tuple[Any, ...]]]:
        """``pack(configured, prepared, [stream,] *arguments)`` gives the backend's call and the packed arguments."""
        return self._function("pack")

    # --- launch classes
    def make_class(self, base: type[Any], cache_miss: Callable[..., None]) -> None:
        """Make the class of configured kernels whose last launch was this launcher's.

        Parameters
        ----------
        base : type
            Of configured kernels, or of their launches on streams.
        cache_miss : Callable
            Takes calls with arguments of other types.
        """
        self._cache_miss = cache_miss
        self._plain_call = self._function("call", CACHE_MISS=cache_miss)
        members = {"__slots__": (), "__module__": base.__module__, "__call__": self._plain_call}
        self.launch_class = type(base.__name__, (base,), members)
        self.state.observation.add_launcher(self)

    @functools.cached_property
    def _observed_call(self) -> Callable[..., None]:
        return self._function("call", observed=True, CACHE_MISS=self._cache_miss)

    def observe(self, observed: bool) -> None:
        """Let launches hand over to who looks at them, or make them directly."""
        self.launch_class.__call__ = self._observed_call if observed else self._plain_call
        for merged in list(self.merged):
            merged.observe()

    @functools.cached_property
    def compiled_in(self) -> frozenset[int]:
        """The numbers of the arguments whose values are part of the code."""
        return frozenset(
            number for number, type_ in enumerate(self._arguments.types) if isinstance(type_, ConstValue)
        )

    def bound(self, call: Call, packed: tuple[Any, ...]) -> Call:
        """A call with its packed arguments: what is left to give is the target."""
        return bind_arguments(call, *packed) if packed else call

    def prepared(self, call: Call) -> Any:
        """What the backend prepared for a call; None where more belongs to it, an error record or somebody who listens."""
        return backend_call(call)

    def repack(
        self, configured: ConfiguredKernel, stream: Stream, arguments: Sequence[Any]
    ) -> tuple[Call, tuple[Any, ...]]:
        """The call and the packed arguments of a launch of the same shape and types with other arguments.

        Raises
        ------
        LaunchError
            Where the arguments are of other types.
        """
        on_stream = (stream,) if self.on_stream else ()
        if not self.matches(*on_stream, *arguments):
            raise LaunchError(
                f"{self._arguments.kernel}: the new arguments are of other types than the recorded ones"
            )
        prepared = configured.prepared_by(self)
        if prepared[1] is None:
            prepared = (self, self.prepare(configured), *prepared[2:])
            configured.keep(prepared)
        call, packed = self.pack(configured, prepared, *on_stream, *arguments)
        assert call is not None
        return call, packed


class Launchers:
    """The launchers of one kernel, by what they were made for."""

    __slots__ = ("_by_key", "_merged", "_newest", "_newest_on_stream")

    def __init__(self) -> None:
        self._by_key: dict[Any, Launcher] = {}
        self._merged: dict[tuple[Launcher, ...], Merged] = {}
        self._newest: dict[ShapeKind, Launcher] = {}
        self._newest_on_stream: dict[ShapeKind, Launcher] = {}

    def get(self, key: Any) -> Launcher | None:
        """The launcher for a key, which becomes the newest of its kind."""
        found = self._by_key.get(key)
        if found is not None:
            self._note(found)
        return found

    def _note(self, launcher: Launcher) -> None:
        (self._newest_on_stream if launcher.on_stream else self._newest)[launcher.kind] = launcher

    def add(self, key: Any, launcher: Launcher) -> Launcher:
        """Keep a launcher, unless another thread was faster; the one that is kept."""
        table = self._by_key
        for old, other in list(table.items()):
            if other.state.closed or len(table) >= _MOST_LAUNCHERS:
                table.pop(old, None)
        kept = table.setdefault(key, launcher)
        self._note(kept)
        return kept

    def merged(self, launchers: tuple[Launcher, ...], turns: Turns) -> Merged:
        """The launch functions of several contexts as one."""
        from gpucore.launch.in_turn import Merged

        table = self._merged
        found = table.get(launchers)
        if found is None:
            for old in list(table):
                if len(table) >= _MOST_MERGED or any(launcher.state.closed for launcher in old):
                    table.pop(old, None)
            found = table.setdefault(launchers, Merged(launchers, turns))
        return found

    def lend(self, configured: ConfiguredKernel) -> None:
        """Give a new launch shape the newest launchers: its first arguments most likely have the types of the last ones."""
        if not (self._newest or self._newest_on_stream):
            return
        kind = configured.kind
        launcher = self._newest.get(kind)
        if launcher is not None:
            configured._prepared = launcher.unprepared
            configured.__class__ = launcher.launch_class
        if self._newest_on_stream and (launcher := self._newest_on_stream.get(kind)) is not None:
            configured._prepared_on_stream = launcher.unprepared
            configured._stream_class = launcher.launch_class

    def newest(self, kind: ShapeKind, *, on_stream: bool) -> Launcher | None:
        """The launcher that was looked up last for a kind of shape: a new shape most likely has arguments of its types."""
        return (self._newest_on_stream if on_stream else self._newest).get(kind)

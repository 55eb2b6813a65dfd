"""The pipeline from a typed module to an executable on a device, with the disk cache in the middle.

One compilation a key, whoever asks: threads that want the same program wait for the first of them.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from gpucore._version import __version__
from gpucore.cache import Entry, current
from gpucore.errors import CompileError, NotSupportedError
from gpucore.hookspecs import API_VERSION, IR_VERSION, CompileOptions, ObjectCode, Target
from gpucore.ir import nodes
from gpucore.ir.dtypes import f64
from gpucore.sources import core_sources, sources_of

if TYPE_CHECKING:
    from gpucore._state import ContextState
    from gpucore.device import Capabilities, Device
    from gpucore.ir.dtypes import DType
    from gpucore.ir.passes import Lowered, LowerOptions

__all__ = ["Param", "Program", "Variant", "cache_key", "compile_program", "lower", "refuse"]

RangeKind = Literal["nd", "linear"] | None


@dataclass(frozen=True, slots=True)
class Variant:
    """How a typed module is to be compiled: the part of the key that the launch decides.

    Attributes
    ----------
    check : bool
    range_launch : {None, "nd", "linear"}
    small, noalias : bool
        As in ``LowerOptions``.
    block : tuple[int, ...] | None
        The block where the code may depend on it.
    items : int
        Elements that a thread of a range launch takes.
    """

    check: bool = False
    range_launch: RangeKind = None
    small: bool = False
    noalias: bool = False
    block: tuple[int, ...] | None = None
    items: int = 1


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of the compiled kernel, hidden ones included: an array (``rank`` > 0) or a scalar."""

    name: str
    dtype: str
    rank: int = 0


@dataclass
class Program:
    """A kernel on a device.

    Attributes
    ----------
    params : tuple[Param, ...]
        In the order of the slots.
    sites : tuple
        What the numbers in an error record mean.
    generation : int
        Of the device that it was loaded on.
    """

    name: str
    executable: Any
    params: tuple[Param, ...]
    sites: tuple[Any, ...]
    generation: int
    device: Device
    prepared: dict[Any, Any] = field(default_factory=dict)

    def __del__(self) -> None:
        if self.executable is not None:
            self.device._unloadable.append(_Dead(self.executable, self.generation))


@dataclass(frozen=True, slots=True)
class _Dead:
    executable: Any
    generation: int


def lower_options(target: Target, variant: Variant, double: bool = True) -> LowerOptions:
    """The options of ``passes.lower`` for a target."""
    from gpucore.ir.passes import LowerOptions
    from gpucore.math import library

    return LowerOptions(
        native=target.native,
        fast_native=target.fast_native,
        atomics=target.atomics,
        check=variant.check,
        range_launch=variant.range_launch,
        small=variant.small,
        noalias=variant.noalias,
        library=library,
        block=variant.block,
        double=double,
        items=variant.items,
        loop_limit=target.loop_limit,
    )


def lower(module: nodes.Module, target: Target, variant: Variant, double: bool = True) -> Lowered:
    """Lower a linked, high-level module for a target; ``double`` says whether the device computes in f64."""
    from gpucore.ir.passes import lower as lower_
    from gpucore.ir.verify import verify

    verify(module, level="high")
    return lower_(module, lower_options(target, variant, double))


def key_parts(
    module: nodes.Module, target: Target, versions: Mapping[str, str], variant: Variant
) -> dict[str, str]:
    """What the key of the cache is made of, by name."""
    from gpucore.ir.text import print_module
    from gpucore.math import VERSION

    def listed(names: frozenset[str]) -> str:
        return " ".join(sorted(names))

    return {
        "kernel": print_module(module, locations=False),
        "options": repr(variant),
        "gpucore": f"{__version__} api {API_VERSION} ir {IR_VERSION} math {VERSION}",
        "plugin": " ".join(f"{name}={version}" for name, version in sorted(versions.items())),
        "target": " | ".join(
            (
                target.backend,
                target.arch,
                listed(target.native),
                listed(target.fast_native),
                listed(target.atomics),
                listed(target.features),
                *(() if target.loop_limit is None else (f"loops {target.loop_limit}",)),
            )
        ),
    }


def cache_key(parts: Mapping[str, str]) -> str:
    """The key: a hash over the parts."""
    digest = hashlib.sha256()
    for name in sorted(parts):
        for text in (name, parts[name]):
            encoded = text.encode()
            digest.update(len(encoded).to_bytes(8, "little"))
            digest.update(encoded)
    return digest.hexdigest()


def program_key(
    state: ContextState, module: nodes.Module, variant: Variant
) -> tuple[str, dict[str, str], dict[str, str]]:
    """The key of a module on the context's device, the parts it is made of, and their fingerprints."""
    device = state.device
    parts = key_parts(module, device._target, state.hooks.backend_info().versions, variant)
    parts["options"] += f" double={device.capabilities.supports(f64)}"
    parts["gpucore"] += f" passes {core_sources()}"
    parts["plugin"] += f" sources {sources_of(state.hooks.plugin)}"
    return cache_key(parts), parts, {part: digest(text) for part, text in parts.items()}


def digest(text: str) -> str:
    """A short fingerprint of one part, for ``cache explain``."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _InFlight:
    """One lock a key, for as long as somebody works on it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.keys: dict[Any, tuple[threading.Lock, int]] = {}

    def enter(self, key: Any) -> None:
        with self.lock:
            mine, count = self.keys.get(key, (None, 0))
            mine = mine or threading.Lock()
            self.keys[key] = (mine, count + 1)
        mine.acquire()

    def leave(self, key: Any) -> None:
        with self.lock:
            mine, count = self.keys[key]
            if count == 1:
                del self.keys[key]
            else:
                self.keys[key] = (mine, count - 1)
        mine.release()


in_flight = _InFlight()


def once(key: Any, look: Callable[[], Any], make: Callable[[], Any]) -> Any:
    """``look()``, or else ``make()`` by one thread while the others wait for it."""
    found = look()
    if found is not None:
        return found
    in_flight.enter(key)
    try:
        found = look()
        return make() if found is None else found
    finally:
        in_flight.leave(key)


def compile_program(
    state: ContextState, module: nodes.Module, variant: Variant, settings: Any, name: str
) -> Program:
    """An executable of a linked, high-level module on the context's device.

    Raises
    ------
    NotSupportedError
        When the device lacks what the kernel needs.
    CompileError
        From the backend's compiler.
    """
    device = state.device
    refuse(module, device, name)
    target = device._target
    double = device.capabilities.supports(f64)
    cache = current(settings)
    key, parts, _ = program_key(state, module, variant)
    entry = cache.get(key)
    sites: tuple[Any, ...] = ()
    fresh = False
    if entry is None or _reports(entry):
        lowered = lower(module, target, variant, double)
        sites = tuple(lowered.sites)
        if entry is None:
            entry = _compile(state, lowered.module, target, variant, name, parts)
            cache.put(key, entry)
            fresh = True
    try:
        executable = state.load(device._handle, _object_code(entry))
    except CompileError:
        if fresh:
            raise
        # the driver does not take what is in the cache: as good as a miss
        entry = _compile(state, lower(module, target, variant, double).module, target, variant, name, parts)
        cache.put(key, entry)
        executable = state.load(device._handle, _object_code(entry))
    params = tuple(Param(*fields) for fields in entry.header["params"])
    return Program(name, executable, params, sites, device._generation, device)


def _reports(entry: Entry) -> bool:
    """Whether the code has an error record; what is in the cache does not say which lines its sites are."""
    return any(name == "$error" for name, *_ in entry.header["params"])


def _object_code(entry: Entry) -> ObjectCode:
    header = entry.header
    return ObjectCode(entry.data, header["entry"], header["format"], header["metadata"])


def _compile(
    state: ContextState,
    low: nodes.Module,
    target: Target,
    variant: Variant,
    name: str,
    parts: Mapping[str, str],
) -> Entry:
    code: ObjectCode = state.hooks.compile(target, low, CompileOptions(block=variant.block))
    return Entry(
        {
            "name": name,
            "entry": code.entry,
            "format": code.format,
            "metadata": dict(code.metadata),
            "params": [(p.name, p.dtype.name, getattr(p, "rank", 0)) for p in low.kernel.params],
            "parts": {part: digest(text) for part, text in parts.items()},
        },
        code.data,
    )  # fmt: skip


# --- refusals --------------------------------------------------------------------------------------
def refuse(module: nodes.Module, device: Device, name: str) -> None:
    """Raise where the device lacks what the kernel needs.

    Raises
    ------
    NotSupportedError
    """
    where = f"{device.backend}:{device.ordinal} ({device.name})"
    capabilities = device.capabilities
    if module.math == "strict" and "strict" not in capabilities:
        missing = capabilities._raw.strict_missing or "strict arithmetic"
        raise NotSupportedError(
            f"{where} cannot run the kernel {name!r} with math='strict': {missing}; use math='fast' "
            "where that will do",
            capability="strict",
        )
    needs = _needs(module)
    for dtype, op in sorted(needs, key=lambda need: (need[0].name, need[1])):
        if not capabilities.supports(dtype, op):
            raise NotSupportedError(
                f"{where} has no {op} for {dtype}, which the kernel {name!r} uses", capability=f"{dtype}.{op}"
            )
    _refuse_atomics(module, capabilities, where, name)
    if module.subgroup is not None and module.subgroup not in capabilities.subgroup_sizes:
        raise NotSupportedError(
            f"{where} has subgroups of {', '.join(map(str, capabilities.subgroup_sizes))} threads, and "
            "the kernel "
            f"{name!r} asks for {module.subgroup}",
            capability="subgroup_sizes",
        )
    shared = sum(_nbytes(memory) for memory in module.kernel.memories if memory.space == "shared")
    if shared > capabilities.shared_memory:
        raise NotSupportedError(
            f"the kernel {name!r} wants {shared:,} bytes of shared memory a block; {where} has "
            f"{capabilities.shared_memory:,}",
            capability="shared_memory",
        )


def _nbytes(memory: nodes.Memory) -> int:
    size = memory.dtype.itemsize
    for extent in memory.shape:
        size *= extent
    return size


Need = Literal["storage", "arithmetic", "atomic", "shared", "subgroup"]


def _needs(module: nodes.Module) -> set[tuple[DType, Need]]:
    """The dtypes that the user's kernel uses, and how; ``index`` and ``bool`` are everywhere."""
    needs: set[tuple[DType, Need]] = {(memory.dtype, "storage") for memory in module.arrays}
    for memory in module.kernel.memories:
        if memory.space == "shared":
            needs.add((memory.dtype, "shared"))
    for function in (module.kernel, *module.functions):
        for statement in nodes.walk(function.body):
            match statement:
                case nodes.Op(result=result, args=args):
                    needs.update((value.dtype, "arithmetic") for value in (result, *args))
                case nodes.Atomic(memory=memory) | nodes.AtomicCas(memory=memory):
                    needs.add((memory.dtype, "atomic"))
                case nodes.Subgroup(result=result, op=op) if op not in (
                    "size",
                    "lane",
                    "ballot",
                    "any",
                    "all",
                ):
                    needs.add((result.dtype, "subgroup"))
                case _:
                    pass
    return {(dtype, op) for dtype, op in needs if dtype.name not in ("index", "bool")}


def _refuse_atomics(module: nodes.Module, capabilities: Capabilities, where: str, name: str) -> None:
    for statement in nodes.walk(module.kernel.body):
        if isinstance(statement, nodes.Atomic):
            op = statement.op
        elif isinstance(statement, nodes.AtomicCas):
            op = "cas"
        else:
            continue
        dtype = statement.memory.dtype
        buildable = any(f"cas.{kind}{dtype.bits}" in capabilities.atomics for kind in "ui")
        if f"{op}.{dtype.name}" not in capabilities.atomics and not buildable:
            raise NotSupportedError(
                f"{where} has no atomic {op} on {dtype}, which the kernel {name!r} uses",
                capability=f"atomic.{op}.{dtype.name}",
            )

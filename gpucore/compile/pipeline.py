"""The pipeline from a typed module to an executable on a device, with the disk cache in the middle.

One compilation a key, whoever asks: threads that want the same program wait for the first of them.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from gpucore._version import __version__
from gpucore.compile.cache import Entry, core_sources, current
from gpucore.compile.capabilities import Capabilities, refuse, refuse_newer
from gpucore.errors import DeviceLostError, OutOfMemoryError
from gpucore.hookspecs import API_VERSION, IR_VERSION, CompileOptions, Executable, ObjectCode, Target
from gpucore.ir import nodes
from gpucore.ir.dtypes import f64

if TYPE_CHECKING:
    from gpucore.config import Settings
    from gpucore.ir.passes import Lowered, LowerOptions
    from gpucore.ir.passes.checks import Check, Site
    from gpucore.ir.passes.sites import PrintSite

__all__ = ["Param", "Program", "Toolchain", "Variant", "cache_key", "compile_program", "lower"]

RangeKind = Literal["nd", "folded", "linear"] | None
log = logging.getLogger("gpucore")
_SLOW = 2.0
"""Seconds after which a compilation says what it compiled, and where."""


@dataclass(frozen=True, slots=True)
class Variant:
    """How a typed module is to be compiled: the part of the key that the launch decides.

    Attributes
    ----------
    check : Check
        What the kernel checks.
    range_launch : {None, "nd", "folded", "linear"}
    small, noalias : bool
        As in ``LowerOptions``.
    block : tuple[int, ...] | None
        The block where the code may depend on it.
    items : int
        Elements that a thread of a range launch takes.
    shared : tuple[int, ...]
        As in ``LowerOptions``.
    """

    check: Check = False
    range_launch: RangeKind = None
    small: bool = False
    noalias: bool = False
    block: tuple[int, ...] | None = None
    items: int = 1
    shared: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of the compiled kernel, hidden ones included: an array (``rank`` > 0) or a scalar."""

    name: str
    dtype: str
    rank: int = 0


class Toolchain(Protocol):
    """What compiles kernels for one device and loads them there.

    Attributes
    ----------
    where : str
        The device in messages, as in ``"cpu:0 (AMD EPYC)"``.
    target : Target
    capabilities : Capabilities
    generation : int
        Grows with each reset of the device; executables of an earlier one are void.
    """

    @property
    def where(self) -> str: ...
    @property
    def target(self) -> Target: ...
    @property
    def capabilities(self) -> Capabilities: ...
    @property
    def generation(self) -> int: ...
    def versions(self) -> Mapping[str, str]:
        """The versions of the plugin and of its compiler, part of every cache key."""

    @property
    def ir_version(self) -> int:
        """The version of the IR that the plugin was made for."""

    def sources(self) -> str:
        """The fingerprint of the plugin's sources, part of every cache key."""

    def compile(self, module: nodes.Module, options: CompileOptions) -> ObjectCode:
        """The ``compile`` hook."""

    def load(self, code: ObjectCode) -> Executable:
        """The ``load`` hook."""

    def retire(self, executable: Executable, generation: int) -> None:
        """Note that an executable is to be unloaded; called by finalizers, so it calls no hook."""


@dataclass
class Program:
    """A kernel on a device.

    Attributes
    ----------
    params : tuple[Param, ...]
        In the order of the slots.
    find_sites : Callable
        Gives what the numbers in an error record mean; the cache does not say on which lines they are.
    generation : int
        Of the device that it was loaded on.
    prints : tuple[PrintSite, ...]
        What the numbers in records of prints mean.
    """

    name: str
    executable: Executable
    params: tuple[Param, ...]
    find_sites: Callable[[], tuple[Site, ...]]
    generation: int
    toolchain: Toolchain
    prints: tuple[PrintSite, ...] = ()
    prepared: dict[Any, Any] = field(default_factory=dict)

    @functools.cached_property
    def sites(self) -> tuple[Site, ...]:
        """What the numbers in an error record mean, found out when there is an error."""
        return self.find_sites()

    def __del__(self) -> None:
        if self.executable is not None:
            self.toolchain.retire(self.executable, self.generation)


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
        speculates=target.speculates,
        shared=variant.shared,
    )


def lower(module: nodes.Module, target: Target, variant: Variant, double: bool = True) -> Lowered:
    """Lower a linked, high-level module for a target; ``double`` says whether the device computes in f64."""
    from gpucore.ir.passes import lower as lower_
    from gpucore.ir.verify import verify

    verify(module, level="high")
    return lower_(module, lower_options(target, variant, double))


def key_parts(
    module: nodes.Module,
    target: Target,
    versions: Mapping[str, str],
    variant: Variant,
    text: str | None = None,
) -> dict[str, str]:
    """What the key of the cache is made of, by name; ``text`` is the module's, where it is known."""
    from gpucore.ir.text import print_module
    from gpucore.math import VERSION

    return {
        "kernel": print_module(module, locations=False) if text is None else text,
        "options": repr(variant),
        "gpucore": f"{__version__} api {API_VERSION} ir {IR_VERSION} math {VERSION}",
        "plugin": " ".join(f"{name}={version}" for name, version in sorted(versions.items())),
        "target": _target_text(target),
    }


@functools.lru_cache(maxsize=64)
def _target_text(target: Target) -> str:
    """All of a target that the code depends on."""

    def listed(names: frozenset[str]) -> str:
        return " ".join(sorted(names))

    return " | ".join(
        (
            target.backend,
            target.arch,
            listed(target.native),
            listed(target.fast_native),
            listed(target.atomics),
            listed(target.features),
            *(() if target.loop_limit is None else (f"loops {target.loop_limit}",)),
            *(("speculates",) if target.speculates else ()),
        )
    )


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
    toolchain: Toolchain, module: nodes.Module, variant: Variant, text: str | None = None
) -> tuple[str, dict[str, str]]:
    """The key of a module on a device, and the parts it is made of."""
    parts = key_parts(module, toolchain.target, toolchain.versions(), variant, text)
    parts["options"] += f" double={toolchain.capabilities.supports(f64)}"
    parts["gpucore"] += f" passes {core_sources()}"
    parts["plugin"] += f" sources {toolchain.sources()}"
    return cache_key(parts), parts


def digest(text: str) -> str:
    """A short fingerprint of one part, for ``cache explain``."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _KeyLock:
    """Held by the thread that works on a key; a finalizer or signal handler in that thread may want the same."""

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self.lock = threading.RLock()


class _InFlight:
    """One lock a key, for as long as somebody works on it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.keys: weakref.WeakValueDictionary[Any, _KeyLock] = weakref.WeakValueDictionary()

    def of(self, key: Any) -> _KeyLock:
        with self.lock:
            mine = self.keys.get(key)
            if mine is None:
                mine = self.keys[key] = _KeyLock()
            return mine


in_flight = _InFlight()


def once(key: Any, look: Callable[[], Any], make: Callable[[], Any]) -> Any:
    """``look()``, or else ``make()`` by one thread while the others wait for it."""
    found = look()
    if found is not None:
        return found
    mine = in_flight.of(key)
    # taken by the statement itself: an interrupt between a call of acquire and a try would leave it taken
    with mine.lock:
        found = look()
        return make() if found is None else found


def known_bounds(key: str, settings: Settings) -> object:
    """What an earlier process found out of the accesses of the program of a key; None where it is not in the cache."""
    entry = current(settings).look(key)
    return None if entry is None else entry.header.get("bounds")


def compile_program(
    toolchain: Toolchain,
    module: nodes.Module,
    variant: Variant,
    settings: Settings,
    name: str,
    *,
    text: str | None = None,
    bounds: object = None,
    keyed: tuple[str, dict[str, str]] | None = None,
) -> Program:
    """An executable of a linked, high-level module on the toolchain's device.

    Parameters
    ----------
    text : str, optional
        The module's, where it is known.
    bounds : object, optional
        What is known of its accesses, as JSON has it, for :func:`known_bounds` of later processes.
    keyed : tuple[str, dict[str, str]], optional
        What :func:`program_key` gives, where it is known.

    Raises
    ------
    NotSupportedError
        When the device lacks what the kernel needs.
    CompileError
        From the backend's compiler.
    """
    refuse(module, toolchain.capabilities, toolchain.where, name)
    target = toolchain.target
    double = toolchain.capabilities.supports(f64)
    cache = current(settings)
    key, parts = keyed or program_key(toolchain, module, variant, text)
    entry = cache.get(key, _is_complete)
    fresh = False
    began = time.perf_counter()

    def compiled() -> tuple[Entry, Lowered]:
        lowered = lower(module, target, variant, double)
        made = _compile(toolchain, lowered.module, variant, name, parts, bounds)
        cache.put(key, made)
        return made, lowered

    lowered: Lowered | None = None
    if entry is None:
        entry, lowered = compiled()
        fresh = True
    elif bounds is not None and entry.header.get("bounds") is None:
        # compiled by somebody who did not ask
        cache.put(key, Entry({**entry.header, "bounds": bounds}, entry.data))
    if lowered is None and _prints(entry):
        lowered = lower(module, target, variant, double)
    compiled_at = time.perf_counter()
    try:
        executable = toolchain.load(_object_code(entry))
    except (DeviceLostError, OutOfMemoryError):
        raise
    except Exception:
        if fresh:
            raise
        # the backend does not take what is in the cache: as good as a miss
        entry, _ = compiled()
        executable = toolchain.load(_object_code(entry))
    loaded = time.perf_counter()
    if loaded - began > _SLOW:
        log.info(
            "%s took %.1f s to compile for %s: %.1f s by the compiler, %.1f s by the driver; %d operations in %d "
            "functions. The cache keeps what the compiler made",
            name, loaded - began, toolchain.where, compiled_at - began, loaded - compiled_at,
            sum(1 for f in (module.kernel, *module.functions) for _ in nodes.walk(f.body)), 1 + len(module.functions),
        )  # fmt: skip

    sites, prints = (None, ()) if lowered is None else (tuple(lowered.sites), lowered.prints)

    def find_sites() -> tuple[Site, ...]:
        return tuple(lower(module, target, variant, double).sites) if sites is None else sites

    params = tuple(Param(*fields) for fields in entry.header["params"])
    return Program(name, executable, params, find_sites, toolchain.generation, toolchain, prints)


def _is_complete(entry: Entry) -> bool:
    """Whether a header has everything that a program is made of."""
    header = entry.header
    params = header.get("params")
    return (
        all(isinstance(header.get(name), str) for name in ("name", "entry", "format"))
        and all(isinstance(header.get(name), dict) for name in ("metadata", "parts"))
        and isinstance(params, list)
        and all(
            isinstance(param, list) and [type(field) for field in param] == [str, str, int]
            for param in params
        )
    )


def _prints(entry: Entry) -> bool:
    """Whether the code prints; what is in the cache does not say which texts."""
    return any(name == "$print" for name, *_ in entry.header["params"])


def _object_code(entry: Entry) -> ObjectCode:
    header = entry.header
    return ObjectCode(entry.data, header["entry"], header["format"], header["metadata"])


def _compile(
    toolchain: Toolchain,
    low: nodes.Module,
    variant: Variant,
    name: str,
    parts: Mapping[str, str],
    bounds: object,
) -> Entry:
    refuse_newer(low, toolchain.ir_version, toolchain.where, name)
    code = toolchain.compile(low, CompileOptions(block=variant.block))
    return Entry(
        {
            "name": name,
            "entry": code.entry,
            "format": code.format,
            "metadata": dict(code.metadata),
            "params": [[p.name, p.dtype.name, getattr(p, "rank", 0)] for p in low.kernel.params],
            "parts": {part: digest(text) for part, text in parts.items()},
            **({} if bounds is None else {"bounds": bounds}),
        },
        code.data,
    )  # fmt: skip

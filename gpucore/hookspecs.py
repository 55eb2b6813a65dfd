"""The backend contract: every hook a plugin implements, and the types that cross the border.

A plugin is a module named by an entry point of the group ``gpucore.backends``.  It defines ``GPUCORE_API =
(API_VERSION, IR_VERSION)`` and implements the hooks below with ``@gpucore.hookspecs.hookimpl``. Handles
(devices, allocations, streams, events, executables) are objects of the plugin; core passes them back and
never looks inside, save for the attributes that the protocols here name.

Core calls hooks positionally, so parameter names *and order* are part of the contract.  A hook marked
*optional* comes with a capability named in its docstring; the plugin lists it in
``capabilities(device).names``.

Errors: a hook raises :mod:`gpucore.errors` types only.  ``alloc`` raises ``OutOfMemoryError``; anything else
that the driver reports is a ``DeviceError`` with its code and name, or ``DeviceLostError`` once the device is
gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NewType, Protocol, TypeAlias, TypeVar

import pluggy

from gpucore.ir.nodes import IR_VERSION, Memory, Module, Value

API_VERSION = 1
PROJECT = "gpucore"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

__all__ = [
    "API_VERSION",
    "ATOMIC_OPERATIONS",
    "CAPABILITIES",
    "DTYPE_OPERATIONS",
    "IR_VERSION",
    "Allocation",
    "Backend",
    "BackendInfo",
    "BackendSpec",
    "DeviceCapabilities",
    "DeviceHandle",
    "DeviceInfo",
    "EventHandle",
    "Executable",
    "GraphCopy",
    "GraphFill",
    "GraphHandle",
    "GraphLaunch",
    "GraphNode",
    "HostBuffer",
    "LaunchConfig",
    "MemoryKind",
    "ObjectCode",
    "PreparedLaunch",
    "ProbeResult",
    "Slot",
    "StreamHandle",
    "StreamOptions",
    "Target",
    "TimestampHandle",
    "hookimpl",
    "hookspec",
]  # fmt: skip

# The plugin's handles as core sees them: objects of which it knows nothing, and which a type checker keeps apart.
DeviceHandle = NewType("DeviceHandle", object)
StreamHandle = NewType("StreamHandle", object)
EventHandle = NewType("EventHandle", object)
TimestampHandle = NewType("TimestampHandle", object)
Executable = NewType("Executable", object)
GraphHandle = NewType("GraphHandle", object)

MemoryKind = Literal["device", "pinned", "unified"]
DeviceKind = Literal["cpu", "integrated", "discrete", "software"]
HostBuffer: TypeAlias = memoryview
"""A C-contiguous host buffer of format ``B``; writable where it is the destination."""

AllocationT = TypeVar("AllocationT", bound="Allocation")
Slot: TypeAlias = AllocationT | int | float | None
"""One launch argument after core's checks.  Arrays take ``2 + rank`` slots: the Allocation (None for an array
of size zero), the byte offset in it, and the extents; a scalar takes one: a Python int, float or bool in
range."""


# --- words of capabilities -------------------------------------------------------------------------
CAPABILITIES = frozenset({
    "strict", "fast", "unified_memory", "pinned_memory", "pool", "stream_ordered_alloc", "import_memory", "export_memory",
    "peer_copy", "peer_events", "peer_memory", "import_stream", "source_cuda_cpp", "source_ptx", "source_cubin", "source_spirv",
    "graphs", "device_health", "process_memory", "device_reset", "host_addressable", "timestamps", "unified_prefetch",
})  # fmt: skip
"""Named capabilities of a device; a word that is not among them is an error, since it is nearly always a slip."""

DTYPE_OPERATIONS = frozenset({"storage", "arithmetic", "atomic", "shared", "subgroup", "tile"})
ATOMIC_OPERATIONS = frozenset({"add", "sub", "min", "max", "and", "or", "xor", "exchange", "cas"})


# --- identity --------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What a backend says of itself without touching a driver.

    Attributes
    ----------
    name : str
        As the entry point is named.
    description : str
        One line for people.
    priority : int
        With nothing selected the highest available wins; ours are 300 (CUDA), 200 (Vulkan), 100 (CPU).
    versions : Mapping[str, str]
        The plugin and the toolchain it compiles with; part of every cache key.
    install_hint : str
        The pip command that installs or repairs it.
    """

    name: str
    description: str
    priority: int
    versions: Mapping[str, str]
    install_hint: str = ""


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device as probing sees it.

    Attributes
    ----------
    ordinal : int
        Its number within the backend.
    uuid : str | None
        Lower-case 8-4-4-4-12 form; equal for one card seen through several APIs.
    kind : {"cpu", "integrated", "discrete", "software"}
        ``software`` marks a rasteriser that runs on the CPU.
    driver : str
        The driver's name and version, for reports.
    """

    ordinal: int
    name: str
    uuid: str | None
    kind: DeviceKind
    driver: str = ""
    backend: str = ""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What probing found: on failure the reason in one sentence and the fix in another.

    Attributes
    ----------
    misconfigured : bool
        A setting of the user's is the reason: a ``Context()`` that names no backend raises it, and takes no other instead.
    """

    available: bool
    reason: str = ""
    fix: str = ""
    devices: tuple[DeviceInfo, ...] = ()
    misconfigured: bool = False


@dataclass(frozen=True, slots=True)
class DeviceCapabilities:
    """What an opened device can do.

    Attributes
    ----------
    names : frozenset[str]
        Among :data:`CAPABILITIES`, or ``source_<language>`` for native code in a language of the plugin's own.
        ``peer_events`` says that a stream of this device can wait for events of the backend's other devices.
    strict_missing : str
        Why ``strict`` is not among the names, for the error.
    dtypes : Mapping[str, frozenset[str]]
        For each dtype name the operations among :data:`DTYPE_OPERATIONS`.
    atomics : frozenset[str]
        Native atomics as ``"add.f32"``, ``"cas.u64"``; core builds the missing ones from ``cas`` of the
        width.
    subgroup_sizes : tuple[int, ...]
        Widths that a kernel may ask for, the default first.
    max_grid : tuple[int, int, int]
        In array order; the contract's minimum is (65535, 65535, 2**31 - 1).
    max_block : tuple[int, int, int]
        In array order.
    shared_memory : int
        Bytes a block may use.
    preferred_block : int
        Threads a block for range launches.
    range_items : int
        Elements that a thread of a range launch takes where the kernel is short: above 1 on devices that need more
        loads in flight than one a thread.
    dlpack : tuple[int, int] | None
        The device type and number that DLPack knows this device's memory by; None where it has none.
    array_interface : str | None
        The attribute through which other libraries of this device exchange arrays, with the layout of NumPy's
        ``__array_interface__`` version 3 and device addresses.  Arrays then offer and accept it.
    loop_limit : int | None
        As in :class:`Target`; None on devices whose loops run as long as they should.
    """

    names: frozenset[str]
    dtypes: Mapping[str, frozenset[str]]
    atomics: frozenset[str]
    subgroup_sizes: tuple[int, ...]
    max_block: tuple[int, int, int]
    max_threads_per_block: int
    shared_memory: int
    max_grid: tuple[int, int, int] = (65535, 65535, 2**31 - 1)
    preferred_block: int = 256
    range_items: int = 1
    strict_missing: str = ""
    dlpack: tuple[int, int] | None = None
    array_interface: str | None = None
    loop_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """What code is compiled for: picklable, and all that a renderer may know of the device.

    Attributes
    ----------
    backend : str
    arch : str
        ``"sm_90"``, ``"x86_64"``, ``"vulkan1.2"``.
    native : frozenset[str]
        Operation keys (see :mod:`gpucore.ir.ops`) done exactly, beyond ``BASELINE``; the rest is expanded.
    fast_native : frozenset[str]
        Further keys that may stay when ``math="fast"`` (``"exp.f32"``, ``"div.f32"``).
    atomics : frozenset[str]
        As in :class:`DeviceCapabilities`.
    features : frozenset[str]
        Whatever the renderer itself needs to know (``"avx512f"``, ``"DenormPreserve32"``). With ``"tile.f16"``, ``"tile.bf16"``
        or ``"tile.i8"`` it gets :class:`gpucore.ir.TileProduct` statements of that dtype, which core otherwise replaces. With
        ``"tile=lanes"``, ``"sums=lanes"``, ``"scans=lanes"`` products of tiles, ``block_sum`` and its like, scans of blocks are
        made of shuffles, in subgroups that are of 32 threads unless a kernel asks for others: for where that is faster.
    loop_limit : int | None
        For devices that end loops without an error: the iterations after which they may do so, all loops of a thread
        together.  In kernels that are not proven to stay well below it the loops then carry a ``site``, also in
        device functions, and the kernel an array parameter ``$error`` of u32: where the device, rather than the
        program, ended such a loop, the code that ``compile`` makes puts its site into element 0 if that is zero;
        for a loop that the backend itself made of another statement it puts 2**32 - 1 there.  Core raises what it
        means at the next call that waits.
    speculates : bool
        Whether the processor runs ahead of branches, as CPUs do.  A check is then a branch that is hardly ever taken, on
        which nothing waits; elsewhere loops that are tried choose another element instead.  A variable whose name begins
        with ``$outside`` is set where such a branch is taken.
    """

    backend: str
    arch: str
    native: frozenset[str] = frozenset()
    fast_native: frozenset[str] = frozenset()
    atomics: frozenset[str] = frozenset()
    features: frozenset[str] = frozenset()
    loop_limit: int | None = None
    speculates: bool = False


# --- memory, streams -------------------------------------------------------------------------------
class Allocation(Protocol):
    """Memory handed out by ``alloc`` or ``import_memory``.

    ``address`` is the device address where there is one; ``host`` the address at which the host may read and
    write it (pinned, unified, or a CPU), else None.  Neither changes during its life.
    """

    @property
    def nbytes(self) -> int: ...
    @property
    def address(self) -> int | None: ...
    @property
    def host(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Options of ``create_stream``: a larger priority is more urgent, where the device knows priorities."""

    priority: int = 0


@dataclass(frozen=True, slots=True)
class MemoryInfo:
    """Bytes free and in all."""

    free: int
    total: int


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """Whether the device works, and the figures that say so (temperature, clocks, ECC counts)."""

    ok: bool
    details: Mapping[str, Any] = field(default_factory=dict)


# --- compile, launch -------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class ObjectCode:
    """Compiled code, as the disk cache keeps it.

    Attributes
    ----------
    data : bytes
        What ``load`` takes: a cubin, SPIR-V words, an object file.
    entry : str
        The kernel's symbol.
    format : str
    metadata : Mapping[str, str | int | float | bool | list | dict]
        Whatever ``load`` needs besides; JSON types only.
    """

    data: bytes
    entry: str
    format: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """Options of ``compile``.

    Attributes
    ----------
    block : tuple[int, ...] | None
        The block in array order where it is known and part of the key, else None.
    debug : bool
        Keep line information.
    """

    block: tuple[int, ...] | None = None
    debug: bool = False


@dataclass(frozen=True, slots=True)
class LaunchConfig:
    """A launch's shape, in array order, last axis fastest; both have ``module.ndim`` axes, none zero."""

    grid: tuple[int, ...]
    block: tuple[int, ...]


StreamT_contra = TypeVar("StreamT_contra", contravariant=True)
AllocationT_contra = TypeVar("AllocationT_contra", bound=Allocation, contravariant=True)


class PreparedLaunch(Protocol[StreamT_contra, AllocationT_contra]):
    """A kernel with its launch shape: one driver call.

    ``call(stream, *slots)`` enqueues.  ``bind(*slots)``, where present, packs the slots once and gives
    ``call(stream)``; core keeps the allocations alive.
    """

    def __call__(self, stream: StreamT_contra, /, *slots: Slot[AllocationT_contra]) -> None: ...


BoundCall: TypeAlias = Callable[[StreamHandle], None]

DeviceT = TypeVar("DeviceT")
StreamT = TypeVar("StreamT")
EventT = TypeVar("EventT")
ExecutableT = TypeVar("ExecutableT")
GraphT = TypeVar("GraphT")
TimestampT = TypeVar("TimestampT")


# --- graphs ----------------------------------------------------------------------------------------
@dataclass(
    slots=True, unsafe_hash=True
)  # each update of a graph makes some, and frozen ones take three times as long
class GraphLaunch(Generic[AllocationT]):
    """A kernel launch in a graph: what ``call(stream, *slots)`` enqueues.  Nobody changes one that was handed over.

    Attributes
    ----------
    call : PreparedLaunch
        As the hook ``prepare`` gave it.
    after : tuple[int, ...]
        Indices of earlier nodes that must be done before this one starts; the same in every kind of node.
    """

    call: PreparedLaunch[Any, Any]
    slots: tuple[Slot[AllocationT], ...]
    after: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GraphCopy(Generic[AllocationT]):
    """A copy in a graph, as the hook ``copy`` does it, between allocations of the device, pinned ones included."""

    dst: AllocationT
    dst_offset: int
    src: AllocationT
    src_offset: int
    nbytes: int
    after: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GraphFill(Generic[AllocationT]):
    """A fill in a graph, as the hook ``fill`` does it."""

    dst: AllocationT
    offset: int
    nbytes: int
    pattern: bytes
    after: tuple[int, ...] = ()


GraphNode: TypeAlias = GraphLaunch[AllocationT] | GraphCopy[AllocationT] | GraphFill[AllocationT]


# --- hooks -----------------------------------------------------------------------------------------
class Backend(Protocol[DeviceT, StreamT, EventT, ExecutableT, AllocationT]):
    """The hooks of every backend.

    A type checker proves that a plugin keeps the contract where its module is used as one::

        contract: Backend[Device, Stream, Event, Executable, Allocation] = gpucore_mydevice
    """

    # identity
    @hookspec(firstresult=True)
    def backend_info(self) -> BackendInfo:
        """Name, priority and versions; touches no driver."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def probe(self) -> ProbeResult:
        """Look for devices.  Never raises: what fails becomes the reason and the fix."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def open_device(self, ordinal: int, options: Mapping[str, object]) -> DeviceT:
        """Open device ``ordinal`` of the probe; core opens each once a process and shares it.

        Raises
        ------
        BackendUnavailableError
            With the cause and the fix.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def close_device(self, device: DeviceT) -> None:
        """Close the device; core has freed everything it took from it."""

    @hookspec(firstresult=True)
    def capabilities(self, device: DeviceT) -> DeviceCapabilities:
        """What the opened device can do; constant during its life."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def target(self, device: DeviceT | None) -> Target:
        """What code for the device is compiled for; None asks for a default that needs neither."""
        raise NotImplementedError

    # memory
    @hookspec(firstresult=True)
    def alloc(self, device: DeviceT, nbytes: int, kind: MemoryKind, stream: StreamT | None) -> AllocationT:
        """Allocate ``nbytes`` (> 0), aligned to 256 bytes, contents undefined.  Raw: core keeps the cache.

        With the capability ``stream_ordered_alloc`` the memory is usable in ``stream``'s order at once.

        An interrupt may come before core has the allocation, and nobody calls ``free`` then: a finalizer of the allocation should
        have its memory given back, by a later call and once no work is pending.  What core has, it refers to until it calls
        ``free``, also where all that used it is cyclic garbage: no finalizer runs before.

        Raises
        ------
        OutOfMemoryError
        NotSupportedError
            For a kind without its capability (``pinned_memory``, ``unified_memory``).
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def free(self, device: DeviceT, allocation: AllocationT, stream: StreamT | None) -> None:
        """Give memory back.  Core has made sure that no work still uses it, or that ``stream`` comes after
        it.
        """

    @hookspec(firstresult=True)
    def memory_info(self, device: DeviceT) -> MemoryInfo:
        """Free and total bytes of device memory."""
        raise NotImplementedError

    # copy
    @hookspec(firstresult=True)
    def copy(
        self,
        device: DeviceT,
        dst: AllocationT | HostBuffer,
        dst_offset: int,
        src: AllocationT | HostBuffer,
        src_offset: int,
        nbytes: int,
        stream: StreamT,
    ) -> None:
        """Copy in stream order; at most one side is a host buffer, which is pageable.

        From a host buffer: returns once the source has been read.  To a host buffer: blocks until done.
        Between allocations, pinned ones included: asynchronous.
        """

    @hookspec(firstresult=True)
    def fill(
        self,
        device: DeviceT,
        dst: AllocationT,
        offset: int,
        nbytes: int,
        pattern: bytes,
        stream: StreamT,
    ) -> None:
        """Repeat ``pattern`` (1, 2, 4 or 8 bytes; divides ``nbytes``; ``offset`` is a multiple of it) in
        stream order.
        """

    # streams
    @hookspec(firstresult=True)
    def create_stream(self, device: DeviceT, options: StreamOptions) -> StreamT:
        """An ordered queue without implicit order against others."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def destroy_stream(self, device: DeviceT, stream: StreamT) -> None:
        """Release it; work already enqueued still completes."""

    @hookspec(firstresult=True)
    def synchronize_stream(self, device: DeviceT, stream: StreamT) -> None:
        """Block, without the GIL, until all enqueued work is done; errors of that work are raised here."""

    @hookspec(firstresult=True)
    def query_stream(self, device: DeviceT, stream: StreamT) -> bool:
        """Whether all enqueued work is done; also sends on what was batched."""
        raise NotImplementedError

    # events
    @hookspec(firstresult=True)
    def create_event(self, device: DeviceT, timing: bool) -> EventT:
        """An event; only ``timing`` ones can be measured."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def destroy_event(self, device: DeviceT, event: EventT) -> None:
        """Release it, recorded or not."""

    @hookspec(firstresult=True)
    def record_event(self, device: DeviceT, event: EventT, stream: StreamT) -> None:
        """Mark this point of the stream; recording again moves the mark."""

    @hookspec(firstresult=True)
    def wait_event(self, device: DeviceT, stream: StreamT, event: EventT) -> None:
        """Later work of the stream waits for the mark as it is now; no-op if never recorded.

        With the capability ``peer_events`` the event may be one of another device of this backend.
        """

    @hookspec(firstresult=True)
    def query_event(self, device: DeviceT, event: EventT) -> bool:
        """Whether the mark was passed; True if never recorded."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def synchronize_event(self, device: DeviceT, event: EventT) -> None:
        """Block, without the GIL, until the mark was passed."""

    @hookspec(firstresult=True)
    def elapsed_time(self, device: DeviceT, start: EventT, end: EventT) -> float:
        """Milliseconds of device time between two marks, waiting for them."""
        raise NotImplementedError

    # compile
    @hookspec(firstresult=True)
    def render(self, target: Target, module: Module, options: CompileOptions) -> str:
        """The readable source that ``compile`` would compile (CUDA C++, SPIR-V assembly, LLVM IR); needs no
        driver.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def compile(self, target: Target, module: Module, options: CompileOptions) -> ObjectCode:
        """Compile a low-level module; needs no device.

        Raises
        ------
        CompileError
            With the source and the compiler's log.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def load(self, device: DeviceT, object_code: ObjectCode) -> ExecutableT:
        """Bring compiled code onto the device."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def unload(self, device: DeviceT, executable: ExecutableT) -> None:
        """Release it; no launch of it is pending."""

    # launch
    @hookspec(firstresult=True)
    def prepare(
        self, device: DeviceT, executable: ExecutableT, config: LaunchConfig
    ) -> PreparedLaunch[StreamT, AllocationT]:
        """Bind a launch shape; the result is the launch path and is kept by core.  Thread-safe to call.

        Arguments reach it as slots in the order of ``module.kernel.params``, hidden ones last.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def launch(
        self,
        device: DeviceT,
        executable: ExecutableT,
        config: LaunchConfig,
        stream: StreamT,
        slots: tuple[Slot[AllocationT], ...],
    ) -> None:
        """``prepare(device, executable, config)(stream, *slots)``."""


class PoolBackend(
    Backend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    Protocol[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
):
    """A backend with a pool of its own below the core's."""

    @hookspec(firstresult=True)
    def pool_stats(self, device: DeviceT) -> Mapping[str, int]:
        """Optional (``pool``): counters of the plugin's own pool."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def pool_trim(self, device: DeviceT) -> int:
        """Optional (``pool``): give cached memory back to the driver; bytes given back."""
        raise NotImplementedError


class ImportMemoryBackend(
    Backend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    Protocol[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
):
    """A backend that takes memory of others."""

    @hookspec(firstresult=True)
    def import_memory(self, device: DeviceT, address: int, nbytes: int, owner: object) -> AllocationT:
        """Optional (``import_memory``): wrap outside memory at a device address; ``owner`` is kept alive by
        it.
        """
        raise NotImplementedError


class ExportMemoryBackend(
    Backend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    Protocol[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
):
    """A backend that lends memory to others."""

    @hookspec(firstresult=True)
    def export_memory(self, device: DeviceT, allocation: AllocationT) -> object:
        """Optional (``export_memory``): a handle that another process or API can import."""
        raise NotImplementedError


class PeerBackend(
    Backend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    Protocol[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
):
    """A backend whose devices reach each other."""

    @hookspec(firstresult=True)
    def copy_peer(
        self,
        device: DeviceT,
        dst: AllocationT,
        dst_offset: int,
        src_device: DeviceT,
        src: AllocationT,
        src_offset: int,
        nbytes: int,
        stream: StreamT,
    ) -> None:
        """Optional (``peer_copy``): copy from another device of this backend, in the order of ``stream``.

        Core orders it against the other device's work, and tries each pair once before it relies on it.
        """

    @hookspec(firstresult=True)
    def can_access_peer(self, device: DeviceT, other: DeviceT) -> bool:
        """Optional (``peer_copy``): whether ``device`` may reach ``other``'s memory directly."""
        raise NotImplementedError


class PeerMemoryBackend(
    Backend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    Protocol[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
):
    """A backend whose kernels reach the memory of other devices."""

    @hookspec(firstresult=True)
    def enable_peer_access(self, device: DeviceT, other: DeviceT) -> None:
        """Optional (``peer_memory``): from now on launches on ``device`` take ``other``'s allocations of kind ``"device"`` too.

        Called where ``can_access_peer`` says that they may; calling it again does nothing. Core orders such launches against the
        other device's work, and tries each pair once before it relies on it.
        """


class ImportStreamBackend(
    Backend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    Protocol[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
):
    """A backend that takes streams of others."""

    @hookspec(firstresult=True)
    def import_stream(self, device: DeviceT, handle: int) -> StreamT:
        """Optional (``import_stream``): wrap an outside stream; destroying it leaves the original alone."""
        raise NotImplementedError


class TimestampBackend(
    Backend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    Protocol[DeviceT, StreamT, EventT, ExecutableT, AllocationT, TimestampT],
):
    """A backend that times work on the host's clock."""

    @hookspec(firstresult=True)
    def record_timestamp(self, device: DeviceT, stream: StreamT, begins: bool) -> TimestampT:
        """Optional (``timestamps``): mark this point of the stream for :meth:`read_timestamps`.

        ``begins`` says that the work to be timed follows at once and its end will be marked: what is recorded for the stream is
        best sent together.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def read_timestamps(self, device: DeviceT, timestamps: Sequence[TimestampT]) -> Sequence[int]:
        """Optional (``timestamps``): when the marks were passed, waiting for them; each is read once.

        In nanoseconds of ``time.perf_counter_ns``, the host's clock.
        """
        raise NotImplementedError


class PrefetchBackend(
    Backend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    Protocol[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
):
    """A backend whose unified memory moves between host and device."""

    @hookspec(firstresult=True)
    def prefetch_memory(
        self,
        device: DeviceT,
        allocation: AllocationT,
        offset: int,
        nbytes: int,
        to_host: bool,
        stream: StreamT,
    ) -> None:
        """Optional (``unified_prefetch``): move unified memory to the host or the device, in stream order; a hint."""


class SourceBackend(
    Backend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    Protocol[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
):
    """A backend that compiles native code."""

    @hookspec(firstresult=True)
    def compile_source(
        self,
        target: Target,
        source: str | bytes,
        language: str,
        signature: Mapping[str, Sequence[Memory | Value]],
        options: CompileOptions,
    ) -> Mapping[str, ObjectCode]:
        """Optional (``source_cuda_cpp``, ``source_ptx``, ...): native code, one ObjectCode a kernel of the
        signature.

        ``signature`` maps kernel names to parameters: a :class:`gpucore.ir.Memory` (space ``global``) or a
        :class:`gpucore.ir.Value` each.  A native kernel gets an array as a pointer alone, a scalar by value.
        """
        raise NotImplementedError


class GraphBackend(
    Backend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    Protocol[DeviceT, StreamT, EventT, ExecutableT, AllocationT, GraphT],
):
    """A backend that launches recorded work as one piece."""

    @hookspec(firstresult=True)
    def build_graph(self, device: DeviceT, nodes: Sequence[GraphNode[AllocationT]]) -> GraphT:
        """Optional (``graphs``): make of recorded work one object that :meth:`launch_graph` enqueues as a whole.

        Nothing runs yet. The nodes are sorted: each comes after those that its ``after`` names, and nodes that no path of
        ``after`` connects may overlap. Core keeps the executables and the allocations of all nodes until ``destroy_graph``.

        Raises
        ------
        NotSupportedError
            For nodes that the device's graphs cannot hold; core then replays the launches one by one.
        OutOfMemoryError
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def update_graph(
        self, device: DeviceT, graph: GraphT, changes: Mapping[int, GraphNode[AllocationT]]
    ) -> None:
        """Optional (``graphs``): replace nodes, by their index, in the launches from now on.

        A new node has the kind and the ``after`` of the old one; a launch keeps executable and shape, a copy or fill its number
        of bytes. So only scalars, allocations and offsets differ. Launches that are enqueued already keep the old values; core
        keeps the old allocations until these are done. After an error the graph is as it was.
        """

    @hookspec(firstresult=True)
    def launch_graph(self, device: DeviceT, graph: GraphT, stream: StreamT) -> None:
        """Optional (``graphs``): enqueue the graph in stream order, as one piece of work.

        Later work of the stream comes after all of its nodes. The graph may be enqueued again while it is pending; core
        orders the two launches.
        """

    @hookspec(firstresult=True)
    def destroy_graph(self, device: DeviceT, graph: GraphT) -> None:
        """Optional (``graphs``): release it; no launch of it is pending."""


class HealthBackend(
    Backend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    Protocol[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
):
    """A backend that knows how its devices fare."""

    @hookspec(firstresult=True)
    def device_health(self, device: DeviceT) -> DeviceHealth:
        """Optional (``device_health``): whether the device works, with figures."""
        raise NotImplementedError


class ProcessMemoryBackend(
    Backend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    Protocol[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
):
    """A backend that knows what this process holds."""

    @hookspec(firstresult=True)
    def process_memory(self, device: DeviceT) -> int:
        """Optional (``process_memory``): bytes of device memory that this process holds."""
        raise NotImplementedError


class ResetBackend(
    Backend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    Protocol[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
):
    """A backend that brings lost devices back."""

    @hookspec(firstresult=True)
    def reset_device(self, device: DeviceT) -> None:
        """Optional (``device_reset``): bring a lost device back; every handle taken before is void."""


class BackendSpec(
    PoolBackend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    ImportMemoryBackend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    ExportMemoryBackend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    PeerBackend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    PeerMemoryBackend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    ImportStreamBackend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    TimestampBackend[DeviceT, StreamT, EventT, ExecutableT, AllocationT, TimestampT],
    PrefetchBackend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    SourceBackend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    GraphBackend[DeviceT, StreamT, EventT, ExecutableT, AllocationT, GraphT],
    HealthBackend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    ProcessMemoryBackend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    ResetBackend[DeviceT, StreamT, EventT, ExecutableT, AllocationT],
    Protocol[DeviceT, StreamT, EventT, ExecutableT, AllocationT, GraphT, TimestampT],
):
    """Every hook, required and optional. All are ``firstresult``."""


for _protocol in reversed(
    BackendSpec.__mro__[1:]
):  # listed here by name, for whoever looks through the hooks
    for _name, _hook in vars(_protocol).items():
        if hasattr(_hook, f"{PROJECT}_spec"):
            setattr(BackendSpec, _name, _hook)
del _protocol, _name, _hook

OPTIONAL: Mapping[str, str] = {
    "pool_stats": "pool",
    "pool_trim": "pool",
    "import_memory": "import_memory",
    "export_memory": "export_memory",
    "copy_peer": "peer_copy",
    "can_access_peer": "peer_copy",
    "enable_peer_access": "peer_memory",
    "import_stream": "import_stream",
    "record_timestamp": "timestamps",
    "read_timestamps": "timestamps",
    "prefetch_memory": "unified_prefetch",
    "compile_source": "source",
    "build_graph": "graphs",
    "update_graph": "graphs",
    "launch_graph": "graphs",
    "destroy_graph": "graphs",
    "device_health": "device_health",
    "process_memory": "process_memory",
    "reset_device": "device_reset",
}
"""Hooks that a plugin may lack, and the capability (or its prefix) that says it has them."""

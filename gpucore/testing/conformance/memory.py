"""Who a backend says it is and what its devices can do; memory: allocation, its alignment, kinds and limits; copies and fills."""

from __future__ import annotations

import pickle

from gpucore.errors import NotSupportedError, OutOfMemoryError
from gpucore.hookspecs import DTYPE_OPERATIONS, OPTIONAL
from gpucore.ir.dtypes import ALL
from gpucore.testing.conformance.runner import DeviceFixture, case, expect

_CAPABILITY = {"pinned": "pinned_memory", "unified": "unified_memory"}
_KINDS = {"cpu", "integrated", "discrete", "software"}


@case("identity", "backend_info")
def info_names_the_backend_and_its_versions(fixture: DeviceFixture) -> None:
    """``backend_info`` gives the entry point's name, an integer priority and versions as strings."""
    info = fixture.hooks.backend_info()
    expect(
        info.name == fixture.hooks.name, f"the name is {info.name!r}, the entry point {fixture.hooks.name!r}"
    )
    expect(isinstance(info.priority, int), f"the priority is {info.priority!r}")
    expect(bool(info.versions), "no versions: cache entries of other versions would be taken for its own")
    expect(
        all(isinstance(k, str) and isinstance(v, str) for k, v in info.versions.items()),
        "versions are strings",
    )


@case("identity", "probe")
def probe_lists_devices_by_ordinal(fixture: DeviceFixture) -> None:
    """``probe`` lists the devices with distinct ordinals, names and a kind of the contract."""
    found = fixture.hooks.probe()
    expect(found.available and bool(found.devices), "the device is open, but probe finds none")
    ordinals = [device.ordinal for device in found.devices]
    expect(len(set(ordinals)) == len(ordinals), f"ordinals repeat: {ordinals}")
    for device in found.devices:
        expect(bool(device.name), f"device {device.ordinal} has no name")
        expect(device.kind in _KINDS, f"device {device.ordinal} is of kind {device.kind!r}")
        expect(
            device.uuid is None or device.uuid == device.uuid.lower(),
            f"the uuid {device.uuid!r} is not lower case",
        )


@case("identity", "capabilities")
def capabilities_keep_the_minimum(fixture: DeviceFixture) -> None:
    """Limits reach the contract's minimum, and strict arithmetic is there or its absence has a reason."""
    caps = fixture.capabilities
    expect(
        all(a >= b for a, b in zip(caps.max_grid, (65535, 65535, 2**31 - 1), strict=True)),
        f"grid {caps.max_grid}",
    )
    expect(caps.shared_memory >= 16 << 10, f"{caps.shared_memory} bytes of shared memory")
    expect(caps.max_threads_per_block >= 1, "a block has at least one thread")
    expect(1 <= caps.preferred_block <= caps.max_threads_per_block, f"preferred block {caps.preferred_block}")
    expect(bool(caps.subgroup_sizes), "no subgroup width")
    expect("strict" in caps.names or bool(caps.strict_missing), "neither strict nor a reason why not")


@case("identity", "capabilities")
def capabilities_speak_of_known_dtypes(fixture: DeviceFixture) -> None:
    """The dtype table uses the contract's names, and i32 and u32 have atomics."""
    known = {dtype.name for dtype in ALL}
    for name, uses in fixture.capabilities.dtypes.items():
        expect(name in known, f"unknown dtype {name!r}")
        unknown = sorted(uses - DTYPE_OPERATIONS)
        expect(not unknown, f"unknown uses of {name}: {unknown}")
    for name in ("i32", "u32"):
        expect(
            {"storage", "arithmetic", "atomic"} <= fixture.capabilities.dtypes.get(name, frozenset()),
            f"{name} lacks uses",
        )


@case("identity", "capabilities", "target")
def capabilities_and_target_are_constant(fixture: DeviceFixture) -> None:
    """Asking again gives equal answers."""
    expect(fixture.hooks.capabilities(fixture.device) == fixture.capabilities, "capabilities changed")
    expect(fixture.hooks.target(fixture.device) == fixture.target, "the target changed")


@case("identity", "target")
def target_is_picklable(fixture: DeviceFixture) -> None:
    """A target survives pickling: kernels may be compiled in another process."""
    expect(
        pickle.loads(pickle.dumps(fixture.target)) == fixture.target, "the target is another after pickling"
    )


@case("identity", "target")
def default_target_needs_no_device(fixture: DeviceFixture) -> None:
    """``target(None)`` gives the backend's default."""
    expect(
        fixture.hooks.target(None).backend == fixture.target.backend,
        "the default target is of another backend",
    )


@case("identity", "capabilities")
def optional_hooks_match_the_capabilities(fixture: DeviceFixture) -> None:
    """Every capability that promises a hook comes with the hook."""
    names = fixture.capabilities.names
    for hook, capability in OPTIONAL.items():
        promised = any(name == capability or name.startswith(f"{capability}_") for name in names)
        if promised:
            expect(fixture.hooks.has(hook), f"{capability} is promised, but there is no hook {hook}")


@case("identity", "device_health", capability="device_health")
def health_is_good(fixture: DeviceFixture) -> None:
    """``device_health`` says that the device which runs this suite works."""
    expect(fixture.hooks.device_health(fixture.device).ok is True, "the device calls itself unhealthy")


@case("identity", "open_device", "close_device")
def device_opens_twice(fixture: DeviceFixture) -> None:
    """A device can be opened again, and closing the second handle leaves the first at work."""
    again = fixture.hooks.open_device(fixture.info.ordinal, {})
    fixture.hooks.close_device(again)
    stream = fixture.stream()
    expect(
        fixture.download(fixture.upload(b"still here", stream), 10, stream) == b"still here",
        "the first handle broke",
    )


@case("memory", "alloc")
def allocations_are_aligned(fixture: DeviceFixture) -> None:
    """Memory is at least as large as asked for and aligned to 256 bytes, down to a single byte."""
    for nbytes in (1, 3, 255, 256, 257, 4097, 1 << 20):
        allocation = fixture.alloc(nbytes)
        expect(allocation.nbytes >= nbytes, f"{allocation.nbytes} bytes where {nbytes} were asked for")
        expect(
            allocation.address is None or allocation.address % 256 == 0, f"address {allocation.address:#x}"
        )


@case("memory", "alloc", "copy")
def allocations_do_not_overlap(fixture: DeviceFixture) -> None:
    """What is written to one allocation does not show in another."""
    stream = fixture.stream()
    sizes = [1, 100, 256, 1000, 4096]
    held = [fixture.upload(bytes([n]) * size, stream) for n, size in enumerate(sizes)]
    for n, (allocation, size) in enumerate(zip(held, sizes, strict=True)):
        expect(
            fixture.download(allocation, size, stream) == bytes([n]) * size, f"allocation {n} was overwritten"
        )


@case("memory", "alloc", "fill", "copy")
def an_allocation_has_all_of_its_bytes(fixture: DeviceFixture) -> None:
    """As many bytes as ``nbytes`` says can be written and read, and are no other allocation's."""
    stream = fixture.stream()
    held = [fixture.alloc(nbytes) for nbytes in (1, 256, 257, 1000, 4096, 65537)]
    for n, allocation in enumerate(held):
        fixture.hooks.fill(fixture.device, allocation, 0, allocation.nbytes, bytes([n + 1]), stream)
    for n, allocation in enumerate(held):
        expect(
            fixture.download(allocation, allocation.nbytes, stream) == bytes([n + 1]) * allocation.nbytes,
            f"the {allocation.nbytes} bytes of allocation {n} were overwritten, or are fewer",
        )


@case("memory", "alloc")
def kinds_without_their_capability_are_refused(fixture: DeviceFixture) -> None:
    """``NotSupportedError`` for pinned or unified memory that the device does not promise."""
    for kind, capability in _CAPABILITY.items():
        if capability in fixture.capabilities.names:
            continue
        try:
            fixture.hooks.alloc(fixture.device, 256, kind, None)
        except NotSupportedError:
            continue
        expect(False, f"{kind} memory was given without the capability {capability}")


@case("memory", "alloc", "copy", capability="pinned_memory")
def pinned_memory_is_seen_by_the_host(fixture: DeviceFixture) -> None:
    """Pinned memory has a host address at which copies from the device arrive."""
    _host_sees(fixture, "pinned")


@case("memory", "alloc", "copy", capability="unified_memory")
def unified_memory_is_seen_by_both(fixture: DeviceFixture) -> None:
    """Unified memory has a host address; what the device is given there, the host reads."""
    _host_sees(fixture, "unified")


def _host_sees(fixture: DeviceFixture, kind: str) -> None:
    import ctypes

    stream = fixture.stream()
    data = bytes(range(256)) * 4
    source = fixture.upload(data, stream)
    target = fixture.alloc(len(data), kind)  # type: ignore[arg-type]
    expect(target.host is not None, f"{kind} memory without a host address")
    fixture.hooks.copy(fixture.device, target, 0, source, 0, len(data), stream)
    fixture.synchronize(stream)
    expect(ctypes.string_at(target.host, len(data)) == data, "the host reads other bytes")


@case("memory", "alloc", "memory_info")
def running_out_is_an_out_of_memory_error_and_not_the_end(fixture: DeviceFixture) -> None:
    """A request beyond all memory raises ``OutOfMemoryError``; the next, reasonable one is served."""
    total = fixture.hooks.memory_info(fixture.device).total
    try:
        allocation = fixture.hooks.alloc(fixture.device, max(total * 16, 1 << 50), "device", None)
    except OutOfMemoryError:
        pass
    else:
        fixture.hooks.free(fixture.device, allocation, None)
        expect(False, "sixteen times the device's memory was given")
    stream = fixture.stream()
    expect(
        fixture.download(fixture.upload(b"alive", stream), 5, stream) == b"alive",
        "memory is broken afterwards",
    )


@case("memory", "alloc", "free")
def freed_memory_can_be_had_again(fixture: DeviceFixture) -> None:
    """Allocating and freeing a sixteenth of memory a hundred times does not run out, nor eat into what is free."""
    before = fixture.hooks.memory_info(fixture.device).free
    nbytes = min(before // 16, 64 << 20)
    for _ in range(100):
        fixture.hooks.free(fixture.device, fixture.hooks.alloc(fixture.device, nbytes, "device", None), None)
    lost = before - fixture.hooks.memory_info(fixture.device).free
    # a pool may keep some, and others may use the device; a device with much memory does not run out of it
    expect(
        lost <= 50 * nbytes, f"{lost:,} bytes less are free after a hundred times {nbytes:,} were given back"
    )


@case("memory", "memory_info")
def free_is_at_most_total(fixture: DeviceFixture) -> None:
    """``memory_info`` gives ``0 <= free <= total``, and a total above zero."""
    info = fixture.hooks.memory_info(fixture.device)
    expect(0 <= info.free <= info.total and info.total > 0, f"free {info.free}, total {info.total}")


@case("memory", "process_memory", capability="process_memory")
def process_memory_grows_with_allocations(fixture: DeviceFixture) -> None:
    """``process_memory`` is a number of bytes that counts what was allocated."""
    before = fixture.hooks.process_memory(fixture.device)
    stream = fixture.stream()
    allocation = fixture.alloc(64 << 20)
    fixture.hooks.fill(fixture.device, allocation, 0, 64 << 20, b"\x5a", stream)
    fixture.synchronize(stream)
    after = fixture.hooks.process_memory(fixture.device)
    expect(before >= 0 and after >= before, f"{before} bytes before, {after} after taking 64 MiB")


@case("memory", "import_memory", capability="import_memory")
def imported_memory_is_the_same_memory(fixture: DeviceFixture) -> None:
    """``import_memory`` of an address reads and writes what is there."""
    stream = fixture.stream()
    original = fixture.upload(b"0123456789abcdef", stream)
    expect(original.address is not None, "memory that can be imported has an address")
    fixture.synchronize(stream)
    view = fixture.hooks.import_memory(fixture.device, original.address, 16, original)
    expect(fixture.download(view, 16, stream) == b"0123456789abcdef", "the import reads other bytes")
    fixture.hooks.fill(fixture.device, view, 0, 4, b"x", stream)
    expect(fixture.download(original, 16, stream) == b"xxxx456789abcdef", "writes to the import are not seen")
    fixture.hooks.free(fixture.device, view, None)
    expect(fixture.download(original, 4, stream) == b"xxxx", "freeing the import freed the original")


@case("memory", "pool_stats", "pool_trim", capability="pool")
def pool_counts_and_trims(fixture: DeviceFixture) -> None:
    """The plugin's pool gives counters and gives memory back when asked."""
    stats = fixture.hooks.pool_stats(fixture.device)
    expect(all(isinstance(v, int) for v in stats.values()), f"counters {stats}")
    expect(fixture.hooks.pool_trim(fixture.device) >= 0, "bytes given back")


_SIZES = (1, 2, 3, 7, 255, 4096, 65537, (1 << 20) + 13)


def _pattern(nbytes: int, seed: int = 1) -> bytes:
    block = bytes((n * 167 + seed * 31 + (n >> 8)) & 0xFF for n in range(4099))
    return (block * (nbytes // len(block) + 1))[:nbytes]


@case("copy", "copy")
def host_to_device_and_back(fixture: DeviceFixture) -> None:
    """Bytes of any number come back as they went."""
    stream = fixture.stream()
    for size in _SIZES:
        data = _pattern(size)
        expect(
            fixture.download(fixture.upload(data, stream), size, stream) == data,
            f"{size} bytes came back changed",
        )


@case("copy", "copy")
def keeps_offsets(fixture: DeviceFixture) -> None:
    """Offsets on both sides are kept, and neighbours are left alone."""
    stream = fixture.stream()
    target = fixture.upload(b"." * 64, stream)
    fixture.hooks.copy(fixture.device, target, 13, memoryview(b"0123456789"), 3, 5, stream)
    expect(fixture.download(target, 64, stream) == b"." * 13 + b"34567" + b"." * 46, "from the host")
    out = bytearray(b"-" * 16)
    fixture.hooks.copy(fixture.device, memoryview(out), 4, target, 14, 3, stream)
    expect(bytes(out) == b"----456---------", f"to the host: {bytes(out)!r}")


@case("copy", "copy")
def device_to_device(fixture: DeviceFixture) -> None:
    """Copies between allocations, with offsets, come after what was enqueued before them."""
    stream = fixture.stream()
    for size in _SIZES:
        source, target = fixture.upload(_pattern(size), stream), fixture.upload(b"\0" * (size + 5), stream)
        fixture.hooks.copy(fixture.device, target, 5, source, 0, size, stream)
        expect(fixture.download(target, size + 5, stream) == b"\0" * 5 + _pattern(size), f"{size} bytes")


@case("copy", "copy")
def within_one_allocation(fixture: DeviceFixture) -> None:
    """Source and destination may be parts of one allocation that do not overlap."""
    stream = fixture.stream()
    memory = fixture.upload(_pattern(512) + b"\0" * 512, stream)
    fixture.hooks.copy(fixture.device, memory, 512, memory, 0, 512, stream)
    expect(fixture.download(memory, 1024, stream) == _pattern(512) * 2, "the halves differ")


@case("copy", "copy")
def on_the_device_keeps_both_offsets(fixture: DeviceFixture) -> None:
    """Copies between allocations and within one begin at both offsets, of any number of bytes."""
    stream = fixture.stream()
    data = _pattern(1024)
    source = fixture.upload(data, stream)
    for src_offset, dst_offset, size in ((16, 0, 64), (3, 5, 7), (256, 512, 300), (1, 0, 1), (1023, 255, 1)):
        target = fixture.upload(b"." * 1024, stream)
        fixture.hooks.copy(fixture.device, target, dst_offset, source, src_offset, size, stream)
        expected = b"." * dst_offset + data[src_offset : src_offset + size]
        expect(
            fixture.download(target, 1024, stream) == expected + b"." * (1024 - len(expected)),
            f"{size} bytes from offset {src_offset} to {dst_offset}, between allocations",
        )
    fixture.hooks.copy(fixture.device, source, 700, source, 100, 200, stream)
    expect(
        fixture.download(source, 1024, stream) == data[:700] + data[100:300] + data[900:],
        "200 bytes from offset 100 to 700, within one allocation",
    )


@case("copy", "copy")
def source_may_change_once_the_call_returns(fixture: DeviceFixture) -> None:
    """A pageable source has been read when ``copy`` returns."""
    stream = fixture.stream()
    size = 1 << 20
    source = bytearray(_pattern(size))
    target = fixture.alloc(size)
    fixture.hooks.copy(fixture.device, target, 0, memoryview(source), 0, size, stream)
    source[:] = b"\xff" * size
    expect(fixture.download(target, size, stream) == _pattern(size), "the later bytes were copied")


@case("copy", "copy", "fill")
def to_the_host_waits_for_the_stream(fixture: DeviceFixture) -> None:
    """A copy to pageable memory returns once all that came before it in the stream is done."""
    stream = fixture.stream()
    size = 4 << 20
    memory = fixture.alloc(size)
    for value in range(20):
        fixture.hooks.fill(fixture.device, memory, 0, size, bytes([value]), stream)
    expect(fixture.download(memory, size, stream) == bytes([19]) * size, "the copy overtook a fill")


@case("copy", "copy", "fill")
def copies_keep_the_order_of_the_stream(fixture: DeviceFixture) -> None:
    """A copy between two fills takes what the first one left."""
    stream = fixture.stream()
    size = 1 << 20
    first, second = fixture.alloc(size), fixture.alloc(size)
    fixture.hooks.fill(fixture.device, first, 0, size, b"\x01", stream)
    fixture.hooks.copy(fixture.device, second, 0, first, 0, size, stream)
    fixture.hooks.fill(fixture.device, first, 0, size, b"\x02", stream)
    expect(fixture.download(second, size, stream) == b"\x01" * size, "the copy saw the later fill")


@case("copy", "fill")
def fills_with_patterns(fixture: DeviceFixture) -> None:
    """Patterns of 1, 2, 4 and 8 bytes repeat from the offset on, and stop at the end."""
    stream = fixture.stream()
    for pattern in (b"\x07", b"\x01\x02", b"\x01\x02\x03\x04", b"\x01\x02\x03\x04\x05\x06\x07\x08"):
        for offset, count in ((0, 5), (len(pattern) * 3, 100), (len(pattern), 4096)):
            nbytes = count * len(pattern)
            memory = fixture.upload(b"\xee" * (offset + nbytes + 8), stream)
            fixture.hooks.fill(fixture.device, memory, offset, nbytes, pattern, stream)
            expected = b"\xee" * offset + pattern * count + b"\xee" * 8
            expect(
                fixture.download(memory, len(expected), stream) == expected,
                f"{pattern!r} at {offset}, {nbytes} bytes",
            )


@case("copy", "copy", capability="pinned_memory")
def pinned_copies_arrive_after_synchronising(fixture: DeviceFixture) -> None:
    """Copies between pinned and device memory are done once the stream is."""
    stream = fixture.stream()
    size = 1 << 20
    source = fixture.upload(_pattern(size), stream, "pinned")
    middle, target = fixture.alloc(size), fixture.alloc(size, "pinned")
    fixture.hooks.copy(fixture.device, middle, 0, source, 0, size, stream)
    fixture.hooks.copy(fixture.device, target, 0, middle, 0, size, stream)
    fixture.synchronize(stream)
    expect(fixture.download(target, size, stream) == _pattern(size), "other bytes arrived")

"""Copies and fills: bytes arrive where they should, when they should."""

from __future__ import annotations

from gpucore.testing.conformance.device_fixture import DeviceFixture
from gpucore.testing.conformance.model import case, expect

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

"""Who a backend says it is, and what it says its devices can do."""

from __future__ import annotations

import pickle

from gpucore.hookspecs import DTYPE_OPERATIONS, OPTIONAL
from gpucore.ir.dtypes import ALL
from gpucore.testing.conformance.runner import DeviceFixture, case, expect

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

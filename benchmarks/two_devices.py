"""Two devices of one host: what they exchange, against the driver and NCCL; what two do against one.  Writes JSON.

    python benchmarks/two_devices.py --devices cuda:0 cuda:1 --output two-devices.json
    python benchmarks/two_devices.py --parts all-reduce n-body

Everything is checked before it is timed.  Figures that are compared are taken in turn in one run, as medians of rounds.  Without
CUDA (``--devices cpu:0 cpu:1``) the parts that need it say so in the report.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import importlib.metadata
import json
import platform
import statistics
import subprocess
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import gpucore as gc

ROUNDS = 7
PACKAGES = ("gpucore", "gpucore-cuda", "gpucore-vulkan", "numpy", "cuda-bindings", "torch")


@gc.kernel
def scale(x: gc.Array[gc.f32], y: gc.Array[gc.f32], a: gc.f32) -> None:
    i = gc.global_id(0)
    y[i] = a * x[i]


@gc.kernel
def attract(
    px: gc.Array[gc.f32],
    py: gc.Array[gc.f32],
    pz: gc.Array[gc.f32],
    mx: gc.Array[gc.f32],
    my: gc.Array[gc.f32],
    mz: gc.Array[gc.f32],
    ax: gc.Array[gc.f32],
    ay: gc.Array[gc.f32],
    az: gc.Array[gc.f32],
) -> None:
    """Accelerations of the bodies m by all bodies p, of mass one."""
    i = gc.global_id(0)
    x, y, z = mx[i], my[i], mz[i]
    fx, fy, fz = gc.f32(0.0), gc.f32(0.0), gc.f32(0.0)
    for j in range(px.shape[0]):
        dx, dy, dz = px[j] - x, py[j] - y, pz[j] - z
        r = gc.rsqrt(dx * dx + dy * dy + dz * dz + 1e-4)
        s = r * r * r
        fx = gc.fma(dx, s, fx)
        fy = gc.fma(dy, s, fy)
        fz = gc.fma(dz, s, fz)
    ax[i], ay[i], az[i] = fx, fy, fz


def seconds(action: Callable[[], None], wait: Callable[[], None], times: int) -> float:
    """Seconds of one of ``times`` calls that are enqueued and then waited for."""
    wait()
    start = time.perf_counter()
    for _ in range(times):
        action()
    wait()
    return (time.perf_counter() - start) / times


def medians(actions: dict[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, float]:
    """Each measured in turn, ``rounds`` times, after a round that does not count."""
    found: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            value = action()
            if number:
                found[name].append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def warm(group: gc.Group, duration: float = 0.5) -> None:
    """Keep the host and the devices busy until both run at their clocks: what is measured first would else look slow."""
    x = group.replicate(np.ones(1 << 16, np.float32))
    end = time.perf_counter() + duration
    while time.perf_counter() < end:
        for _ in range(100):
            group.launch(scale, x, x, 1.0)
            group.all_reduce(x)
        group.synchronize()


EMPTY_KERNEL = b".version 6.4\n.target sm_75\n.address_size 64\n.visible .entry empty() { ret; }\n\0"


# --- the driver, called directly ----------------------------------------------------------------------
class Driver:
    """``cuMemcpyPeerAsync`` with peer access enabled, on streams and memory of its own."""

    def __init__(self, nbytes: int) -> None:
        from cuda.bindings import driver as cu

        self.cu, self.nbytes = cu, nbytes
        self.call(cu.cuInit(0))
        self.contexts = [self.call(cu.cuDevicePrimaryCtxRetain(self.call(cu.cuDeviceGet(n)))) for n in (0, 1)]
        self.memory, self.streams = [], []
        for n, context in enumerate(self.contexts):
            self.call(cu.cuCtxSetCurrent(context))
            cu.cuCtxEnablePeerAccess(self.contexts[1 - n], 0)  # may be on already
            self.memory.append([self.call(cu.cuMemAlloc(nbytes)) for _ in range(2)])
            self.streams.append(self.call(cu.cuStreamCreate(1)))

    def call(self, answer: Any) -> Any:
        if int(answer[0]):
            raise RuntimeError(f"the driver says {answer[0]}")
        return answer[1] if len(answer) > 1 else None

    def copy(self, source: int) -> None:
        target = 1 - source
        (code,) = self.cu.cuMemcpyPeerAsync(
            self.memory[target][1], self.contexts[target], self.memory[source][0], self.contexts[source],
            self.nbytes, self.streams[target],
        )  # fmt: skip
        assert not int(code), code

    def wait(self) -> None:
        for stream in self.streams:
            self.cu.cuStreamSynchronize(stream)

    def launches(self) -> list[Callable[[], None]]:
        """For each device a ``cuLaunchKernel`` of an empty kernel, with everything looked up ahead."""
        found = []
        for context, stream in zip(self.contexts, self.streams, strict=True):
            self.call(self.cu.cuCtxSetCurrent(context))
            module = self.call(self.cu.cuModuleLoadData(EMPTY_KERNEL))
            function = self.call(self.cu.cuModuleGetFunction(module, b"empty"))
            found.append(
                functools.partial(self.cu.cuLaunchKernel, function, 1, 1, 1, 256, 1, 1, 0, stream, 0, 0)
            )
        return found


def peer_copies(group: gc.Group, nbytes: int) -> dict[str, Any]:
    """Copies of ``nbytes`` each way, and both ways at once, in GB/s."""
    a, b = group.contexts
    data = np.random.default_rng(0).integers(0, 256, nbytes, np.uint8)
    x, y = a.array(data), b.array(np.invert(data))
    to_b, to_a = b.empty(nbytes, gc.u8), a.empty(nbytes, gc.u8)
    start = time.perf_counter()
    access = gc.peer_access(*(f"{c.backend}:{c.device.ordinal}" for c in group.contexts))
    tried = time.perf_counter() - start
    to_b.copy_from(x)
    to_a.copy_from(y)
    assert (to_b.numpy() == data).all()
    assert (to_a.numpy() == np.invert(data)).all()
    sides = a.stream(), b.stream()

    def both() -> None:
        to_b.copy_from(x, stream=sides[1])
        to_a.copy_from(y, stream=sides[0])

    def fresh() -> None:
        x.to(b)

    times = 20
    actions = {
        "0 to 1": lambda: seconds(lambda: void(to_b.copy_from(x)), group.synchronize, times),
        "1 to 0": lambda: seconds(lambda: void(to_a.copy_from(y)), group.synchronize, times),
        "both at once": lambda: seconds(both, group.synchronize, times),
        "to(), allocation included": lambda: seconds(fresh, group.synchronize, times),
    }
    try:
        raw = Driver(nbytes)
    except Exception as error:  # noqa: BLE001 - without CUDA the rest is measured still
        missing: str | None = f"the driver is not called directly: {error}"
    else:
        missing = None
        actions |= {
            "raw 0 to 1": lambda: seconds(lambda: raw.copy(0), raw.wait, times),
            "raw 1 to 0": lambda: seconds(lambda: raw.copy(1), raw.wait, times),
            "raw both at once": lambda: seconds(lambda: (raw.copy(0), raw.copy(1)), raw.wait, times),
        }
    found = medians(actions)
    rates = {name: (2 if "both" in name else 1) * nbytes / value / 1e9 for name, value in found.items()}
    ratios = {name: rates[name] / rates[f"raw {name}"] for name in rates if f"raw {name}" in rates}
    return {
        "access": access, "seconds to try": tried, "bytes": nbytes, "GB/s": rates, "of the driver's": ratios,
        "missing": missing,
    }  # fmt: skip


def void(value: object) -> None:
    """Forget a value."""


# --- several devices at work --------------------------------------------------------------------------
class Bodies:
    """A step of n bodies over the devices of a group: each computes its share, then all get the new positions."""

    def __init__(self, group: gc.Group, positions: np.ndarray) -> None:
        self.group = group
        self.count = positions.shape[1]
        self.whole = [group.replicate(axis) for axis in positions]
        self.mine = [group.scatter(axis) for axis in positions]
        self.force = [group.scatter(np.zeros_like(axis)) for axis in positions]

    def step(self) -> None:
        self.group.launch(attract, *self.whole, *self.mine, *self.force)
        for whole, part in zip(self.whole, self.mine, strict=True):
            for copy in whole.shards:
                start = 0
                for shard in part.shards:
                    copy[start : start + shard.size].copy_from(shard)
                    start += shard.size


def n_body(selectors: list[str], count: int) -> dict[str, Any]:
    """Seconds of a step on one and on two devices, in turn."""
    positions = np.random.default_rng(1).standard_normal((3, count)).astype(np.float32)
    with gc.Group(selectors[:1]) as one, gc.Group(selectors) as two:
        bodies = {"one": Bodies(one, positions), "two": Bodies(two, positions)}
        forces = []
        for body in bodies.values():
            body.step()
            forces.append([body.group.gather(force) for force in body.force])
        same = all((a == b).all() for a, b in zip(*forces, strict=True))
        whole, alone = bodies["one"], bodies["one"].group
        halves = [
            [alone.scatter(axis[: count // 2]) for axis in data]
            for data in (positions, np.zeros_like(positions))
        ]

        def half() -> None:
            alone.launch(attract, *whole.whole, *halves[0], *halves[1])

        steps = max(1, min(8, int(1e11 / count**2)))
        actions = {
            name: functools.partial(seconds, b.step, b.group.synchronize, steps) for name, b in bodies.items()
        }
        actions["half of the bodies, on one"] = functools.partial(seconds, half, alone.synchronize, steps)
        found = medians(actions, 2 if count > 1 << 19 else ROUNDS)
    return {
        "bodies": count,
        "seconds": found,
        "same bits": bool(same),
        "two of one": found["one"] / found["two"],
        "half of the bodies on one, of one": found["one"] / found["half of the bodies, on one"],
    }


def all_reduce(group: gc.Group, nbytes: int) -> dict[str, Any]:
    """Microseconds of an all-reduce of f32, and of NCCL's through torch."""
    rng = np.random.default_rng(2)
    parts = [rng.standard_normal(nbytes // 4).astype(np.float32) for _ in group.contexts]
    x = group.scatter(np.concatenate(parts))
    expected = parts[0]
    for part in parts[1:]:
        expected = expected + part
    for shard in group.all_reduce(x).shards:
        assert (shard.numpy() == expected).all()
    times = 20 if nbytes > 1 << 24 else 300
    again = group.scatter(np.concatenate(parts))

    def after_launch() -> None:
        group.launch(scale, again, again, 1.0)
        group.all_reduce(again)

    actions = {"gpucore": lambda: seconds(lambda: void(group.all_reduce(x)), group.synchronize, times)}
    others = {
        "a launch on each device, then gpucore": lambda: seconds(after_launch, group.synchronize, times),
        "a launch on each device": lambda: seconds(
            lambda: group.launch(scale, again, again, 1.0), group.synchronize, times
        ),
    }
    missing = None
    try:
        import torch
        from torch.cuda import nccl

        tensors = [torch.from_numpy(part).to(f"cuda:{n}") for n, part in enumerate(parts)]
        outputs = [torch.empty_like(tensor) for tensor in tensors]
        nccl.all_reduce(tensors, outputs)

        def wait() -> None:
            for n in range(len(tensors)):
                torch.cuda.synchronize(n)

        wait()
        assert np.allclose(outputs[0].cpu().numpy(), expected)
        actions["NCCL"] = lambda: seconds(lambda: nccl.all_reduce(tensors, outputs), wait, times)

        def after_torch() -> None:
            for tensor in tensors:
                tensor.mul_(1.0)
            nccl.all_reduce(tensors, outputs)

        others["a launch of torch on each device, then NCCL"] = lambda: seconds(after_torch, wait, times)
    except Exception as error:  # noqa: BLE001 - whatever torch lacks here goes into the report
        missing = f"NCCL through torch did not run: {type(error).__name__}: {error}"
    warm(group, 0.3)
    found = medians(actions | others, rounds=15 if nbytes <= 1 << 20 else ROUNDS)
    result: dict[str, Any] = {
        "bytes": nbytes, "microseconds": {k: v * 1e6 for k, v in found.items()},
        "GB/s": {k: nbytes / found[k] / 1e9 for k in actions}, "missing": missing,
    }  # fmt: skip
    if "NCCL" in found:
        result["of NCCL's speed"] = found["NCCL"] / found["gpucore"]
    return result


def launch_cost(group: gc.Group) -> dict[str, Any]:
    """Microseconds of the host for a launch: on one device, on both in turn, and through the group."""
    n = 256
    (a, b), (c, d) = [(context.ones(n, gc.f32), context.ones(n, gc.f32)) for context in group.contexts]
    x, y = group.replicate(np.ones(n, np.float32)), group.replicate(np.ones(n, np.float32))
    alone, in_turn = gc.kernel(scale.__wrapped__).over(n), gc.kernel(scale.__wrapped__).over(n)
    bound = alone.bind(a, b, 2.0), alone.bind(c, d, 2.0), alone.bind(b, a, 2.0)
    other = gc.kernel(scale.__wrapped__).over(n)

    def enqueue(action: Callable[[], None]) -> float:
        group.synchronize()
        start = time.perf_counter()
        for _ in range(300):
            action()
        taken = time.perf_counter() - start
        group.synchronize()
        return taken / 300 / 2

    def one_device() -> None:
        alone(a, b, 2.0)
        alone(a, b, 2.0)

    def both() -> None:
        in_turn(a, b, 2.0)
        in_turn(c, d, 2.0)

    def bound_one() -> None:
        bound[0]()
        bound[0]()

    def bound_both() -> None:
        bound[0]()
        bound[1]()

    # what it costs that two launches are not the same, on whichever devices
    def two_on_one() -> None:
        alone(a, b, 2.0)
        other(b, a, 2.0)

    def bound_two_on_one() -> None:
        bound[0]()
        bound[2]()

    actions = {
        "one device": one_device,
        "both in turn": both,
        "two launches in turn, one device": two_on_one,
        "bound, one device": bound_one,
        "bound, two in turn, one device": bound_two_on_one,
        "bound, both in turn": bound_both,
        "group.launch": lambda: group.launch(scale, x, y, 2.0),
    }
    missing = None
    try:
        raw = Driver(1024)
        first, second = raw.launches()
    except Exception as error:  # noqa: BLE001 - without CUDA the rest is measured still
        missing = f"the driver is not called directly: {error}"
    else:
        actions["cuLaunchKernel, one device"] = lambda: (first(), first())
        actions["cuLaunchKernel, both in turn"] = lambda: (first(), second())
    found = medians(
        {name: lambda action=action: enqueue(action) for name, action in actions.items()}, rounds=51
    )
    result: dict[str, Any] = {
        "microseconds a launch": {k: v * 1e6 for k, v in found.items()},
        "both of one": found["both in turn"] / found["one device"],
        "both of one, bound": found["bound, both in turn"] / found["bound, one device"],
        "both of two in turn on one": found["both in turn"] / found["two launches in turn, one device"],
        "both of two in turn on one, bound": found["bound, both in turn"]
        / found["bound, two in turn, one device"],
        "missing": missing,
    }
    if missing is None:
        raw_one, raw_both = found["cuLaunchKernel, one device"], found["cuLaunchKernel, both in turn"]
        result["both of one, cuLaunchKernel"] = raw_both / raw_one
        result["gpucore's own part of both in turn, microseconds"] = (
            found["both in turn"] - found["one device"] - (raw_both - raw_one)
        ) * 1e6
    return result


def launches_of_threads(group: gc.Group, n: int) -> dict[str, Any]:
    """Seconds of a kernel that computes for long: on one device, and on both at once from a thread each."""
    data = np.random.default_rng(4).standard_normal((3, n)).astype(np.float32)
    sides = []
    for context in group.contexts:
        p = [context.array(axis) for axis in data]
        sides.append((context, (*p, *p, *(context.zeros(n, gc.f32) for _ in range(3)))))

    def work(side: tuple[gc.Context, Any]) -> None:
        attract.over(n)(*side[1])
        side[0].synchronize()

    def at_once() -> float:
        start = time.perf_counter()
        threads = [threading.Thread(target=work, args=(side,)) for side in sides]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start

    def alone() -> float:
        start = time.perf_counter()
        work(sides[0])
        return time.perf_counter() - start

    found = medians({"one": alone, "both": at_once})
    return {"seconds": found, "both of one": found["both"] / found["one"]}


# --- others -------------------------------------------------------------------------------------------
def torch_streams(selector: str) -> dict[str, Any]:
    """Two streams of torch on the second device, each with work of torch and gpucore in turn."""
    import torch

    ordinal = int(selector.split(":")[1])
    rounds, n = 50, 1 << 20
    with gc.Context(selector) as ctx:
        streams = [torch.cuda.Stream(device=ordinal) for _ in range(2)]
        ours = [ctx.stream(handle=stream.cuda_stream) for stream in streams]
        tensors = [torch.full((n,), float(k + 1), device=f"cuda:{ordinal}") for k in range(2)]
        torch.cuda.synchronize(ordinal)
        shared = [gc.from_dlpack(tensor, context=ctx, copy=False) for tensor in tensors]
        for _ in range(rounds):
            for stream, mine, tensor, array in zip(streams, ours, tensors, shared, strict=True):
                with torch.cuda.stream(stream):
                    tensor += 1.0
                scale.over(n, stream=mine)(array, array, 0.5)
        for stream in streams:
            stream.synchronize()
        expected = []
        for k in range(2):
            value = np.float32(k + 1)
            for _ in range(rounds):
                value = np.float32((value + np.float32(1)) * np.float32(0.5))
            expected.append(float(value))
        right = [bool((tensor == value).all()) for tensor, value in zip(tensors, expected, strict=True)]
        other = [str(tensor.device) for tensor in tensors]
    return {"right": right, "devices": other}


def same_card() -> dict[str, Any]:
    """Cards that two backends show, matched by UUID: the same kernel on both gives the same bits."""
    by_uuid: dict[str, list[str]] = {}
    for device in gc.devices():
        if device.uuid:
            by_uuid.setdefault(device.uuid, []).append(f"{device.backend}:{device.ordinal}")
    data = np.random.default_rng(3).standard_normal(100_000).astype(np.float32)
    matched = {}
    for uuid, selectors in by_uuid.items():
        if len(selectors) < 2:
            continue
        results = []
        for selector in selectors:
            with gc.Context(f"{selector.split(':')[0]}:{uuid}") as ctx:
                x, y = ctx.array(data), ctx.empty(data.size, gc.f32)
                scale.over(data.size)(x, y, 1.1)
                results.append((ctx.device.uuid, y.numpy()))
        matched[uuid] = {
            "devices": selectors,
            "same uuid": len({found for found, _ in results}) == 1,
            "same bits": all((y == results[0][1]).all() for _, y in results),
        }
    return {"cards of two backends": matched, "all": by_uuid}


def vulkan_across() -> dict[str, Any]:
    """Copies between two cards through Vulkan."""
    cards = [d for d in gc.devices() if d.backend == "vulkan" and d.kind != "software"]
    if len(cards) < 2:
        return {"missing": f"{len(cards)} cards show themselves to Vulkan"}
    with gc.Group([f"vulkan:{d.ordinal}" for d in cards[:2]]) as group:
        return peer_copies(group, 64 << 20)


def versions() -> dict[str, str]:
    """Of the packages that are installed."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def sources() -> str | None:
    """The hash of the sources that ``gpucore bench`` notes, None where it is not installed."""
    try:
        from gpucore_bench.run import source_hash
    except ImportError:
        return None
    return source_hash()


def size_name(nbytes: int) -> str:
    """``"64 KiB"``."""
    return f"{nbytes >> 20} MiB" if nbytes >= 1 << 20 else f"{nbytes >> 10} KiB"


def topology() -> str:
    """What ``nvidia-smi topo -m`` says."""
    try:
        done = subprocess.run(["nvidia-smi", "topo", "-m"], capture_output=True, text=True, timeout=60)
    except OSError as error:
        return f"nvidia-smi does not run: {error}"
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", nargs=2, default=["cuda:0", "cuda:1"])
    parser.add_argument("--output", type=Path, default=Path("two-devices.json"))
    parser.add_argument("--parts", nargs="+", help="only parts whose names begin so")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    options = parser.parse_args()
    large = 4 << 20 if options.quick else 256 << 20
    bodies = (512, 1024) if options.quick else (65_536, 262_144, 524_288, 1_048_576)
    report: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "source_sha256": sources(),
        "versions": versions(), "gpucore": gc.__version__, "python": platform.python_version(), "platform": platform.platform(),
        "topology": topology(), "devices": options.devices,
    }  # fmt: skip

    def part(name: str, measure: Callable[[], Any]) -> None:
        if options.parts and not name.startswith(tuple(options.parts)):
            return
        start = time.perf_counter()
        try:
            report[name] = measure()
        except Exception as error:  # noqa: BLE001 - the other parts are worth having
            report[name] = {"failed": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        print(
            f"{name} ({time.perf_counter() - start:.1f} s): {json.dumps(report[name], indent=1, default=str)}",
            flush=True,
        )
        options.output.write_text(json.dumps(report, indent=2, default=str), "utf-8")

    with gc.Group(options.devices) as group:
        report["names"] = [f"{c.device.name} {c.device.uuid}, {c.device.driver}" for c in group.contexts]
        warm(group)
        part("peer copy", lambda: peer_copies(group, large))
        for nbytes in (4 << 10, 64 << 10, 1 << 20, 16 << 20, 256 << 20):
            if nbytes <= large:
                part(f"all-reduce, {size_name(nbytes)}", lambda nbytes=nbytes: all_reduce(group, nbytes))
        part("launch cost", lambda: launch_cost(group))
        part(
            "two threads, a device each",
            lambda: launches_of_threads(group, 1024 if options.quick else 131_072),
        )
    for count in bodies:
        part(f"n-body, {count:,}", lambda count=count: n_body(options.devices, count))
    part("torch streams on the second device", lambda: torch_streams(options.devices[1]))
    part("same card through two backends", same_card)
    part("vulkan across cards", vulkan_across)
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()

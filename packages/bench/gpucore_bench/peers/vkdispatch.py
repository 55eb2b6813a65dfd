"""vkdispatch, in a process of its own, on the Vulkan device of this UUID or else of this name, timed by the clock."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np

from gpucore_bench.model import Arrays, Maker, MissingPeerError, Runner, Simple
from gpucore_bench.peers import need, remote
from gpucore_bench.peers.timing import enqueueing


def peer(name: str, **options: Any) -> dict[str, Maker]:
    """The contender for a work."""
    return remote.peer("vkdispatch", "vkdispatch", "vkdispatch", name, **options)


def make(name: str, size: int, inputs: Arrays, device: Any, options: dict[str, Any]) -> Runner:
    """Runs in the worker."""
    vd = need("vkdispatch")
    vc = need("vkdispatch.codegen")
    vd.initialize(backend="vulkan")
    shown = list(enumerate(vd.get_devices()))
    places = [n for n, each in shown if each.uuid and str(uuid.UUID(bytes=bytes(each.uuid))) == device.uuid]
    places = places or [n for n, each in shown if each.device_name == device.name]
    if not places:
        raise MissingPeerError("it does not show this device")
    # unless a device is named it takes none that is a processor, and fails
    vd.make_context(device_ids=places[0])
    abbreviations = need("vkdispatch.codegen.abbreviations")
    floats, constant = abbreviations.Buff[abbreviations.f32], abbreviations.Const[abbreviations.f32]

    def fetch(buffer: Any) -> Any:
        return np.asarray(buffer.read(0), np.float32)

    if name == "saxpy":

        def saxpy(x: Any, y: Any, a: Any) -> None:
            i = vc.global_invocation_id().x
            y[i] = a * x[i] + y[i]

        built = vd.shader(
            exec_size=size, arg_type_annotations=[floats, floats, constant], arg_names=["x", "y", "a"],
            arg_defaults=[None, None, None],
        )(saxpy)  # fmt: skip
        x, y = vd.asbuffer(inputs["x"]), vd.asbuffer(inputs["y"])
        return Simple(once=lambda: built(x, y, 1.5), fetch=lambda: fetch(y), wait=vd.queue_wait_idle)

    def one(a: Any) -> None:
        a[vc.global_invocation_id().x] = 1.0

    kernel = vd.shader(
        exec_size=size, local_size=(size, 1, 1), arg_type_annotations=[floats], arg_names=["a"], arg_defaults=[None]
    )(one)  # fmt: skip
    array, wait = vd.asbuffer(np.zeros(size, np.float32)), vd.queue_wait_idle

    def once() -> None:
        kernel(array)

    def waited() -> None:
        kernel(array)
        wait()

    if options["launch"] == "wait":
        return Simple(once=waited, fetch=lambda: fetch(array))
    return Simple(once=once, fetch=lambda: fetch(array), wait=wait, timed=enqueueing(once, wait))

"""Several contexts: on one device, and of several backends in one process."""

import numpy as np
import pytest

import gpucore as gc


@gc.func
def step(v: gc.f32, k: gc.i32):
    return gc.exp(-v * v) * gc.f32(k) + gc.sqrt(gc.abs(v)) - v / 3.0


@gc.kernel
def walk(x: gc.Array[gc.f32], out: gc.Array[gc.f32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        v = x[i]
        for k in range(10):
            v = step(v, gc.cast(k, gc.i32))
        out[i] = gc.sin(v) + gc.log(gc.abs(v) + 1.0)


def others(gpucore_context):
    """Contexts of the other backends that can be opened."""
    for name, status in gc.backends().items():
        if name != gpucore_context.backend and status.available:
            yield name, status


def test_two_contexts_on_one_device_share_arrays(gpucore_context, second):
    host = np.linspace(-2, 2, 1000, dtype=np.float32)
    x = gpucore_context.array(host)
    out = second.zeros(1000, gc.f32)
    gpucore_context.synchronize()
    second.synchronize()
    assert second.device is gpucore_context.device
    walk[8, 128](x, out)
    gpucore_context.synchronize()
    second.synchronize()
    again = gpucore_context.zeros(1000, gc.f32)
    walk[8, 128](x, again)
    np.testing.assert_array_equal(out.numpy(), again.numpy())
    out.copy_from(x)
    np.testing.assert_array_equal(out.numpy(), host)


def test_two_backends_give_the_same_bits(gpucore_context):
    host = np.random.default_rng(31).standard_normal(4000).astype(np.float32)
    results = {}
    out = gpucore_context.zeros(4000, gc.f32)
    walk.over(4000)(gpucore_context.array(host), out)
    results[gpucore_context.backend] = out.numpy()
    for name, _ in others(gpucore_context):
        with gc.Context(name) as context:
            there = context.zeros(4000, gc.f32)
            walk.over(4000)(context.array(host), there)
            results[name] = there.numpy()
    assert walk.portable
    if len(results) == 1:
        wanted = host.copy()
        walk.interpret(32, 125, host, wanted, detect_races=False)
        results["interpreter"] = wanted
    first, *rest = results
    for name in rest:
        np.testing.assert_array_equal(
            results[name].view(np.uint32), results[first].view(np.uint32), f"{name} and {first}"
        )


def test_arrays_go_to_another_backend(gpucore_context):
    host = np.arange(5000, dtype=np.int32).reshape(50, 100)
    for name, _ in others(gpucore_context):
        with gc.Context(name) as context:
            x = gpucore_context.array(host)
            there = x.to(context)
            assert there.context.backend == name
            np.testing.assert_array_equal(there.numpy(), host)
            there[3:7].fill(-1)
            back = there.to(gpucore_context)
            x.copy_from(there)
            wanted = host.copy()
            wanted[3:7] = -1
            np.testing.assert_array_equal(back.numpy(), wanted)
            np.testing.assert_array_equal(x.numpy(), wanted)
            with pytest.raises(gc.LaunchError):
                walk[1, 8](gpucore_context.zeros(8, gc.f32), context.zeros(8, gc.f32))


def test_one_card_has_one_uuid(gpucore_context):
    """Where two backends see a device of the same name they give the same UUID."""
    mine = gpucore_context.device
    for _, status in others(gpucore_context):
        twins = [d for d in status.devices if d.name == mine.name]
        if twins and mine.uuid is not None:
            assert mine.uuid in [d.uuid for d in twins]


def test_a_closed_context_refuses_and_others_go_on(gpucore_context, gpucore_backend):
    context = gc.Context(f"{gpucore_backend}:{gpucore_context.device.ordinal}")
    x = context.zeros(8, gc.f32)
    context.close()
    context.close()
    with pytest.raises(gc.GpucoreError):
        x.numpy()
    with pytest.raises(gc.GpucoreError):
        context.zeros(8, gc.f32)
    y = gpucore_context.ones(8, gc.f32)
    walk[1, 8](y, y)
    assert np.isfinite(y.numpy()).all()


@gc.kernel
def churn_on(x: gc.Array[gc.u32], rounds: gc.i32):
    i = gc.global_id(0)
    v = x[i]
    for _ in range(rounds):
        v = v * 1664525 + 1013904223
    x[i] = v


@pytest.mark.parametrize("way", ["to", "copy_from"])
def test_copies_between_two_contexts_of_one_device_wait_for_both(gpucore_context, gpucore_backend, way):
    one = gpucore_context
    wanted = np.uint32(1)
    for _ in range(200):
        wanted = np.uint32((int(wanted) * 1664525 + 1013904223) & 0xFFFFFFFF)
    with gc.Context(gpucore_backend) as other:
        assert other.device is one.device
        for _ in range(4):
            x, y = one.full(1_000_003, 1, gc.u32), other.full(1_000_003, 7, gc.u32)
            churn_on.over(x.shape)(y, 200)  # what the target was given before comes first
            churn_on.over(x.shape)(x, 200)
            if way == "to":
                y = x.to(other)
            else:
                y.copy_from(x)
            churn_on.over(x.shape)(x, 1)  # what the source is given later comes after
            found = y.numpy()
            assert (found == wanted).all(), np.unique(found)

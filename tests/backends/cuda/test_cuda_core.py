"""The CUDA backend through the public interface: exchange with other libraries, native kernels, loss, leaks."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

import gpucore as gc


@gc.kernel
def axpy(x: gc.Array[gc.f32], y: gc.Array[gc.f32], a: gc.f32):
    i = gc.global_id(0)
    if i < y.shape[0]:
        y[i] = a * x[i] + y[i]


@gc.kernel
def slow(out: gc.Array[gc.f32], rounds: gc.i32):
    total = 1.0
    for _ in range(rounds):
        total = total * 1.0000001
    out[0] = total


@pytest.fixture
def context(fixture):
    with gc.Context("cuda") as opened:
        yield opened


# --- other libraries ----------------------------------------------------------------------------------
def test_torch_reads_an_array_without_a_copy(context):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = context.array(np.arange(12, dtype=np.float32).reshape(3, 4))
    by_dlpack, by_interface = torch.from_dlpack(x), torch.as_tensor(x, device="cuda")
    by_dlpack += 1
    torch.cuda.synchronize()
    np.testing.assert_array_equal(x.numpy(), np.arange(12).reshape(3, 4) + 1)
    assert by_interface.data_ptr() == by_dlpack.data_ptr()


def test_a_torch_tensor_is_taken_without_a_copy(context):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    tensor = torch.arange(1000, dtype=torch.float32, device="cuda")
    x = gc.from_dlpack(tensor, context=context)
    axpy[4, 256](x, x, 1.0)
    context.synchronize()
    assert float(tensor.sum()) == 2 * 999 * 500


def test_cupy_and_gpucore_share_memory_both_ways(context):
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    x = context.array(np.arange(100, dtype=np.float32))
    seen = cupy.asarray(x)
    seen *= 2
    cupy.cuda.Device().synchronize()
    np.testing.assert_array_equal(x.numpy(), np.arange(100) * 2)
    theirs = cupy.ones(100, cupy.float32)
    mine = gc.from_dlpack(theirs, context=context)
    axpy[1, 128](x, mine, 1.0)
    context.synchronize()
    np.testing.assert_array_equal(cupy.asnumpy(theirs), np.arange(100) * 2 + 1)


def test_an_outside_stream_orders_both_sides(context):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    theirs = torch.cuda.Stream()
    stream = context.stream(handle=theirs.cuda_stream)
    x = context.zeros(1, gc.f32)
    slow[1, 1, stream](x, 20_000_000)
    with torch.cuda.stream(theirs):
        seen = torch.as_tensor(x, device="cuda").clone()
    theirs.synchronize()
    assert float(seen[0]) > 1


# --- streams and threads --------------------------------------------------------------------------------
def test_eight_threads_launch_on_streams_of_their_own(context):
    failures = []

    def work(number: int) -> None:
        try:
            stream = context.stream()
            x = context.array(np.full(4096, number, np.float32), stream=stream)
            y = context.array(np.zeros(4096, np.float32), stream=stream)
            for _ in range(300):
                axpy[16, 256, stream](x, y, 1.0)
            if not (y.numpy(stream=stream) == 300 * number).all():
                failures.append(number)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


def test_streams_do_not_wait_for_one_another(context):
    host = context.pinned(1 << 20, gc.f32)
    host[:] = 3
    busy, first, second = context.stream(), context.stream(), context.stream()
    target, out = context.zeros(1, gc.f32), context.zeros(1 << 20, gc.f32)
    context.synchronize()
    slow[1, 1, busy](target, 50_000_000)
    mark = busy.record()
    out.copy_from(host, stream=first)
    first.synchronize()
    assert not mark.query(), "the copy waited for another stream's kernel"
    second.wait(mark)
    last = second.record()
    assert not last.query()
    last.synchronize()
    assert mark.query()
    assert (out.numpy() == 3).all()


def test_two_contexts_share_the_device_and_take_each_other_s_arrays(context):
    with gc.Context("cuda") as second:
        assert second.device is context.device
        x, y = context.ones(100, gc.f32), second.ones(100, gc.f32)
        axpy[1, 128](x, y, 1.0)
        assert (y.numpy() == 2).all()


# --- native kernels ------------------------------------------------------------------------------------
def test_native_kernels_are_checked_like_any_other(context):
    source = "__global__ void add(float* x, float a) { x[threadIdx.x] += a; }"
    module = context.module(source, language="cuda-c++", signatures={"add": [gc.Array[gc.f32], gc.f32]})
    x = context.zeros(32, gc.f32)
    module["add"][1, 32](x, 2.5)
    assert (x.numpy() == 2.5).all()
    with pytest.raises(gc.LaunchError):
        module["add"][1, 32](context.zeros(32, gc.f64), 2.5)
    with pytest.raises(gc.LaunchError):
        module["add"][1, 32](x)


def test_a_native_compile_error_carries_the_log(context):
    with pytest.raises(gc.CompileError) as caught:
        context.module("__global__ void k() { missing(); }", language="cuda-c++", signatures={"k": []})
    assert "module.cu(1)" in caught.value.log


# --- failure ---------------------------------------------------------------------------------------------
def test_out_of_memory_leaves_the_context_usable(context):
    total = context.device.memory_info().total
    with pytest.raises(gc.OutOfMemoryError):
        context.empty(2 * total, gc.u8)
    assert (context.ones(10, gc.f32).numpy() == 1).all()


def test_a_checked_kernel_reports_and_the_context_lives(fixture):
    with gc.Context("cuda", check=True) as context:

        @gc.kernel
        def beyond(x: gc.Array[gc.f32]):
            x[gc.global_id(0) + 5] = 1.0

        x = context.zeros(32, gc.f32)
        beyond[1, 32](x)
        with pytest.raises(gc.KernelBoundsError) as caught:
            context.synchronize()
        assert caught.value.array == "x"
        assert (x.numpy()[5:] == 1).all()


LOSE = """
import numpy as np, gpucore as gc
@gc.kernel
def wild(x: gc.Array[gc.f32], at: gc.i64):
    x[at] = 1.0
ctx = gc.Context("cuda", check=False)
x = ctx.zeros(16, gc.f32)
wild[1, 1](x, (1 << 31) - 1)
try:
    ctx.synchronize()
except gc.DeviceLostError as error:
    assert "wild" in str(error), error
    # the second where 8 GiB past the array is the window of shared memory, which depends on what else is mapped
    assert error.name in ("CUDA_ERROR_ILLEGAL_ADDRESS", "CUDA_ERROR_INVALID_ADDRESS_SPACE"), error.name
else:
    raise SystemExit("the device was not lost")
for action in (lambda: ctx.zeros(4, gc.f32), lambda: wild[1, 1](x, 0), lambda: x.numpy()):
    try:
        action()
    except gc.DeviceLostError:
        continue
    raise SystemExit("a call did not fail fast")
try:
    with gc.Context("cpu") as other:
        assert (other.ones(4, gc.f32).numpy() == 1).all()
except (gc.BackendNotFoundError, gc.BackendUnavailableError):
    pass
"""


def test_a_lost_device_names_the_launch_fails_fast_and_harms_no_other_backend(fixture, tmp_path):
    script = tmp_path / "lose.py"
    script.write_text(LOSE)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_leaks(context):
    """Many allocations, launches, streams and events: the memory of device and process stays where it was."""
    import resource

    x, y = context.ones(1000, gc.f32), context.zeros(1000, gc.f32)

    def turn(count: int) -> None:
        for n in range(count):
            z = context.empty(1000 + n % 7 * 4096, gc.u8)
            axpy[4, 256](x, y, 1.0)
            event = context.event()
            context.default_stream.record(event)
            if n % 50 == 0:
                context.stream().synchronize()
            del z, event
        context.synchronize()

    turn(3000)
    free, used = context.device.memory_info().free, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    turn(100_000)
    assert abs(context.device.memory_info().free - free) < 16 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 20 << 10

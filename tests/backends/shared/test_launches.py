"""Launches: bound ones, many arguments, mistakes in arguments, native kernels."""

import numpy as np
import pytest

import gpucore as gc

ARRAYS, SCALARS = 24, 10
_parameters = ", ".join(
    [f"a{k}: gc.Array[gc.i32]" for k in range(ARRAYS)] + [f"s{k}: gc.i64" for k in range(SCALARS)]
)
_sum = " + ".join(
    [f"a{k}[i] * {k + 1}" for k in range(1, ARRAYS)] + [f"gc.cast(s{k}, gc.i32)" for k in range(SCALARS)]
)
SOURCE = (
    f"def many({_parameters}):\n    i = gc.global_id(0)\n    if i < a0.shape[0]:\n        a0[i] = {_sum}\n"
)
_names = {"gc": gc}
exec(SOURCE, _names)
many = gc.kernel(source=SOURCE)(_names["many"])


@gc.kernel
def saxpy(x: gc.Array[gc.f32], y: gc.Array[gc.f32], a: gc.f32):
    i = gc.global_id(0)
    if i < y.shape[0]:
        y[i] = a * x[i] + y[i]


def test_more_arguments_than_push_constants_hold(gpucore_context):
    n = 333
    arrays = [gpucore_context.array(np.arange(n, dtype=np.int32) + k) for k in range(ARRAYS)]
    scalars = [10**k for k in range(SCALARS)]
    many[3, 128](*arrays, *scalars)
    wanted = sum((np.arange(n) + k) * (k + 1) for k in range(1, ARRAYS)) + sum(scalars)
    np.testing.assert_array_equal(arrays[0].numpy(), wanted.astype(np.int32))
    bound = many[3, 128].bind(*arrays, *scalars)
    arrays[1].fill(0)
    bound()
    wanted -= (np.arange(n) + 1) * 2
    np.testing.assert_array_equal(arrays[0].numpy(), wanted.astype(np.int32))


def test_a_bound_launch_sees_changed_contents(gpucore_context):
    x, y = gpucore_context.ones(100, gc.f32), gpucore_context.zeros(100, gc.f32)
    bound = saxpy[1, 128].bind(x, y, 2.0)
    bound()
    x.fill(5)
    bound()
    np.testing.assert_array_equal(y.numpy(), 12)
    stream = gpucore_context.stream()
    gpucore_context.synchronize()
    for _ in range(10):
        bound(stream=stream)
    np.testing.assert_array_equal(y.numpy(stream=stream), 112)
    ranged = saxpy.over(50, stream=stream).bind(x, y[:50], -1.0)
    ranged()
    ranged()
    np.testing.assert_array_equal(y.numpy(stream=stream), [102] * 50 + [112] * 50)


def test_a_bound_launch_keeps_its_arrays(gpucore_context):
    y = gpucore_context.zeros(100, gc.f32)
    bound = saxpy[1, 128].bind(gpucore_context.ones(100, gc.f32), y, 1.0)
    for _ in range(5):
        gpucore_context.full(100, 1e9, gc.f32)  # would take the memory of the array above
        bound()
    np.testing.assert_array_equal(y.numpy(), 5)


def test_thousands_of_launches_without_a_pause(gpucore_context):
    x, y = gpucore_context.ones(100, gc.f32), gpucore_context.zeros(100, gc.f32)
    for _ in range(3000):
        saxpy[1, 128](x, y, 1.0)
    np.testing.assert_array_equal(y.numpy(), 3000)


def test_shapes_scalars_and_types_change_between_launches(gpucore_context):
    @gc.kernel
    def scale(x: gc.Array, k: gc.i32):
        i = gc.global_id(0)
        if i < x.shape[0]:
            x[i] = x[i] * 2 + gc.cast(k, gc.i32)

    for dtype in (gc.i32, gc.i64, gc.i32):
        for n in (1, 100, 7):
            for k in (1, -4):
                x = gpucore_context.ones(n, dtype)
                scale[1, 128](x, k)
                np.testing.assert_array_equal(x.numpy(), 2 + k)


def test_mistakes_in_arguments_name_the_kernel(gpucore_context):
    context = gpucore_context
    x, y = context.ones(8, gc.f32), context.zeros(8, gc.f32)
    wrong = (
        (x, y), (x, y, 1.0, 2.0), (x, context.zeros(8, gc.i32), 1.0), (x, context.zeros((2, 4), gc.f32), 1.0),
        (x, 3.0, 1.0), (x, y, "a"), (x, y, x),
    )  # fmt: skip
    for args in wrong:
        with pytest.raises(gc.LaunchError, match="saxpy"):
            saxpy[1, 8](*args)
    saxpy[1, 8](x, y=y, a=3.0)
    np.testing.assert_array_equal(y.numpy(), 3)


CUDA = """
extern "C" __global__ void add(float *x, long long n, float by) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < n) x[i] += by;
}
"""


def test_native_kernels_in_a_language_that_is_not_offered(gpucore_context):
    names = gpucore_context.device.capabilities
    for language, capability in (
        ("cuda-c++", "source_cuda_cpp"), ("ptx", "source_ptx"), ("spirv", "source_spirv"), ("basic", "source_basic"),
    ):  # fmt: skip
        if capability not in names:
            with pytest.raises(gc.NotSupportedError):
                gpucore_context.module("", language=language, signatures={"k": [gc.f32]})


def test_native_cuda_kernels(gpucore_context):
    if "source_cuda_cpp" not in gpucore_context.device.capabilities:
        pytest.skip("the device takes no CUDA C++")
    signatures = {"add": [gc.Array[gc.f32], gc.i64, gc.f32]}
    module = gpucore_context.module(CUDA, language="cuda-c++", signatures=signatures)
    x = gpucore_context.ones(1000, gc.f32)
    module["add"][8, 128](x, 1000, 2.5)
    bound = module["add"][8, 128].bind(x, 500, 1.0)
    bound()
    np.testing.assert_array_equal(x.numpy(), [4.5] * 500 + [3.5] * 500)
    with pytest.raises(gc.LaunchError):
        module["add"][8, 128](x, 1000)
    with pytest.raises(gc.LaunchError):
        module["ad"]
    with pytest.raises(gc.CompileError) as caught:
        gpucore_context.module("nonsense", language="cuda-c++", signatures={"k": [gc.f32]})
    assert caught.value.log


def test_native_code_of_no_sense_is_refused(gpucore_context):
    if "source_spirv" not in gpucore_context.device.capabilities:
        pytest.skip("the device takes no SPIR-V")
    with pytest.raises(gc.CompileError):
        gpucore_context.module(b"nonsense", language="spirv", signatures={"k": [gc.f32]})

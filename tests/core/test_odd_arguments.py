"""What a stranger may pass: masked arrays, numbers of 400 digits, dtypes that NumPy has not."""

from __future__ import annotations

import pickle
import sys
import warnings
from typing import NamedTuple

import numpy as np
import pytest

import gpucore as gc


@gc.func
def square(a):
    return a * a


def test_a_masked_array_is_refused_wherever_its_mask_would_be_lost(ctx):
    masked = np.ma.masked_array(np.ones(3, np.float32), [False, True, False])
    x = ctx.zeros(3, gc.f32)
    for use in (ctx.array, x.copy_from, x.copy_to, x.numpy):
        with pytest.raises(TypeError, match=r"masked array.*\.filled\(value\)"):
            use(masked)
    assert ctx.array(masked.filled(7)).numpy().tolist() == [1, 7, 1]


def test_other_subclasses_of_ndarray_are_copied_as_what_they_hold(ctx, tmp_path):
    file = np.memmap(tmp_path / "numbers", np.float32, "w+", shape=(2, 2))
    file[:] = [[1, 2], [3, 4]]
    x = ctx.zeros((2, 2), gc.f32)
    assert x.copy_from(file).numpy().tolist() == [[1, 2], [3, 4]]
    assert x.copy_from(np.matrix([[5, 6], [7, 8]], np.float32)).numpy().tolist() == [[5, 6], [7, 8]]
    x.copy_to(file)
    assert file.tolist() == [[5, 6], [7, 8]]


def test_reshaping_a_strided_view_uses_nothing_that_numpy_deprecates(ctx):
    host = np.arange(24, dtype=np.int32).reshape(4, 6)
    view = ctx.array(host)[:, ::2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (view.reshape(2, 2, 3).numpy() == host[:, ::2].reshape(2, 2, 3)).all()
        with pytest.raises(ValueError, match=r"\.contiguous\(\)\.reshape"):
            ctx.array(host)[:, :3].reshape(12)


def test_bf16_arrays_that_do_not_cross_to_the_host_need_no_ml_dtypes(ctx, monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    x, y = ctx.full(4, 1.5, "bf16"), ctx.zeros(4, gc.bf16)
    y.copy_from(x)
    assert "ml_dtypes" in repr(y)
    with pytest.raises(gc.NotSupportedError, match="pip install ml_dtypes"):
        y.numpy()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_arange_takes_finite_numbers(ctx, number):
    with pytest.raises(ValueError, match="finite"):
        ctx.arange(number)


@pytest.mark.parametrize("number", [10**14, 10**400])
def test_numbers_of_elements_that_nothing_holds_are_errors_of_a_few_words(ctx, number):
    for make in (ctx.arange, lambda n: ctx.zeros(n, gc.f32)):
        with pytest.raises((gc.OutOfMemoryError, ValueError)) as caught:
            make(number)
        assert len(str(caught.value)) < 400


def test_grids_and_arguments_of_400_digits_are_errors_of_a_few_words(ctx, saxpy):
    x = ctx.zeros(4, gc.f32)
    for launch in (saxpy[10**400, 1], saxpy.over(10**400), saxpy[10**5000, 1]):
        with pytest.raises(gc.LaunchError) as caught:
            launch(x, x, 1.0)
        assert len(str(caught.value)) < 400
    with pytest.raises(gc.LaunchError, match="does not fit") as caught:
        saxpy[1, 1](x, x, 10**5000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("given", "nbytes"), [("2 GiB", 2 << 30), ("512k", 512 << 10), (np.int64(4096), 4096)]
)
def test_a_contexts_limit_is_written_as_in_the_settings(backend, given, nbytes):
    backend("null")
    with gc.Context("null", memory_limit=given) as ctx:
        assert ctx.pool.limit == nbytes


@pytest.mark.parametrize("given", ["2 apples", 0, -1, 1.5, True, "9" * 400])
def test_a_limit_that_is_no_number_of_bytes_is_refused(backend, given):
    backend("null")
    with pytest.raises(gc.ConfigError, match=r"^memory_limit wants a positive number of bytes"):
        gc.Context("null", memory_limit=given)


def test_device_functions_are_pickled_by_reference():
    assert pickle.loads(pickle.dumps(square)) is square

    @gc.func
    def inner(a):
        return a

    with pytest.raises(TypeError, match="top level of a module"):
        pickle.dumps(inner)


def test_a_range_of_a_profile_that_has_not_begun_does_not_end():
    with pytest.raises(RuntimeError, match="'x' ends in a thread where it has not begun"):
        gc.profile_range("x").__exit__(None, None, None)


def test_shapes_without_elements_that_numpy_cannot_have_are_refused(ctx):
    with pytest.raises(ValueError, match="has no elements, but past"):
        ctx.zeros((1 << 33, 1 << 33, 0), gc.f32)
    assert ctx.zeros((1 << 40, 0), gc.f32).numpy().shape == (1 << 40, 0)


class Producer:
    def __init__(self, device):
        self.device = device

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **options):
        raise AssertionError("its device is wrong")


@pytest.mark.parametrize("device", [5, (1,), (1, 0, 0), ("cpu", 0), None, (1.5, 0)])
def test_devices_of_dlpack_are_pairs_of_numbers(ctx, device):
    with pytest.raises(TypeError, match="__dlpack_device__ of a Producer gives the type and the number"):
        gc.from_dlpack(Producer(device), context=ctx)
    if device is not None:
        with pytest.raises(TypeError, match="dl_device is the type and the number of a device"):
            ctx.zeros(3, gc.f32).__dlpack__(dl_device=device)


class Size(NamedTuple):
    rows: int
    scale: float


@pytest.mark.parametrize("given", [Size(1, 2.0), (1, 2.0), [1, 2.0]])
def test_a_tuple_for_a_parameter_without_annotation_says_what_to_annotate(ctx, given):
    @gc.kernel
    def scaled(x: gc.Array[gc.f32], size) -> None:
        x[gc.global_id(0)] = size

    with pytest.raises(
        gc.LaunchError, match=r"'size' is an Array or a number.*annotate it: a class under gc\.struct"
    ):
        scaled.over(3)(ctx.zeros(3, gc.f32), given)

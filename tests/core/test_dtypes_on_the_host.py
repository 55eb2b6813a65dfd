"""dtypes among NumPy's: names, comparisons, arguments."""

import numpy as np
import pytest

import gpucore as gc

PAIRS = [
    (gc.bool_, "bool", np.bool_), (gc.i8, "int8", np.int8), (gc.i16, "int16", np.int16),
    (gc.i32, "int32", np.int32), (gc.i64, "int64", np.int64), (gc.u8, "uint8", np.uint8),
    (gc.u16, "uint16", np.uint16), (gc.u32, "uint32", np.uint32), (gc.u64, "uint64", np.uint64),
    (gc.f16, "float16", np.float16), (gc.f32, "float32", np.float32), (gc.f64, "float64", np.float64),
    (gc.complex64, "complex64", np.complex64), (gc.complex128, "complex128", np.complex128),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "name", "scalar"), PAIRS, ids=[name for _, name, _ in PAIRS])
def test_numpy_takes_a_dtype_and_a_dtype_knows_numpys(dtype, name, scalar):
    assert np.dtype(dtype) == np.dtype(scalar)
    assert np.zeros(3, dtype).dtype == scalar
    for same in (scalar, np.dtype(scalar), name, str(dtype)):
        assert dtype == same
        assert same == dtype
        assert not dtype != same
    others = [other for other, _, _ in PAIRS if other is not dtype]
    assert all(dtype != other and other.numpy != dtype for other in others)
    assert {dtype: 1}[dtype] == 1


def test_what_names_no_dtype_is_unequal():
    assert gc.f32 != "float33" and gc.f32 != "" and gc.f32 != None and gc.f32 != 3  # noqa: E711
    assert gc.f32 != np.dtype("M8[s]") and gc.f32 != "index"
    # kinds, which NumPy takes for names of dtypes too
    assert gc.f64 != "float" and gc.i64 != "int" and gc.u64 != "uint"


@pytest.mark.parametrize(("dtype", "name", "scalar"), PAIRS, ids=[name for _, name, _ in PAIRS])
def test_every_dtype_argument_takes_every_spelling(ctx, dtype, name, scalar):
    for given in (dtype, name, str(dtype), scalar, np.dtype(scalar)):
        assert ctx.zeros(2, given).dtype is dtype
        assert ctx.empty(2, given).dtype is dtype
        assert ctx.ones(2, given).dtype is dtype
        assert ctx.full(2, 1, given).dtype is dtype
        assert ctx.array([0, 1], given).dtype is dtype
        assert ctx.arange(2, dtype=given).dtype is dtype
        assert ctx.device.capabilities.supports(given) == ctx.device.capabilities.supports(dtype)


def test_names_of_eight_bits_are_gpucores(ctx):
    # to NumPy "i8" counts bytes; a name of gpucore's comes first
    assert ctx.zeros(1, "i8").nbytes == 1 and ctx.zeros(1, "u8").nbytes == 1
    assert ctx.zeros(1, np.dtype("i8")).dtype is gc.i64


def test_none_and_index_are_no_element_types(ctx):
    for given in (None, gc.index, "index", "complex32", object):
        with pytest.raises(TypeError):
            ctx.zeros(1, given)


def test_ranked_arrays_are_arrays_with_a_rank():
    for rank, ranked in enumerate((gc.Array1, gc.Array2, gc.Array3, gc.Array4), 1):
        assert ranked[gc.f32] == gc.Array[gc.f32, rank]


def test_arange_is_numpys(ctx):
    for args in ((5,), (2, 9), (2, 9, 3), (9, 2, -2), (0.5, 3), (1, 2, 0.25), (3, 3)):
        made = ctx.arange(*args)
        expected = np.arange(*args)
        assert made.dtype == expected.dtype
        assert np.array_equal(made.numpy(), expected)
    assert np.array_equal(ctx.arange(0, 1, 0.125, gc.f16).numpy(), np.arange(0, 1, 0.125, dtype=np.float16))
    with pytest.raises(ValueError, match="step of 0"):
        ctx.arange(0, 1, 0)
    with pytest.raises(TypeError, match="numbers"):
        ctx.arange("3")


def test_arrays_like_another(ctx):
    model = ctx.array(np.ones((2, 3), np.int16))
    assert ctx.zeros_like(model).numpy().tolist() == [[0] * 3] * 2
    assert ctx.ones_like(model).dtype is gc.i16
    assert ctx.full_like(model, 7, "f32").numpy().tolist() == [[7.0] * 3] * 2
    assert ctx.empty_like(np.zeros(4, np.uint8)).dtype is gc.u8
    with pytest.raises(TypeError, match="ctx.zeros"):
        ctx.zeros_like([1, 2])

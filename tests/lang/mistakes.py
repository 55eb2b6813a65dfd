"""Kernels with one mistake each, as newcomers make them; ``mistakes.txt`` holds what they are told.

Each is compiled for the argument types that its annotations name; unannotated parameters are arrays of f32.
"""
# ruff: noqa: E731, F821, F841 - kernels are wrong on purpose here, or name what only the language resolves

import dataclasses
import math
import types

import numpy as np

import gpucore as gc
from gpucore.ir.dtypes import f32, i32, u8, u64

TABLE = np.arange(4, dtype=np.float32)
NAMES = [1, 2, 3]
WEIGHTS = (1.0, 2.0, 3.0)
TENTHS = (0.1, 0.2)
COUNTS = np.arange(4).reshape(2, 2)
double = lambda v: v * 2


@dataclasses.dataclass
class Configuration:
    radius: int = 1


configuration = Configuration()
settings = types.SimpleNamespace(radius=3)


def plain(x):
    return x


@gc.func
def factorial(n: gc.i32):
    if n < 2:
        return 1
    return n * factorial(n - 1)


@gc.func
def sometimes(n: gc.i32):
    if n < 2:
        return 1


@gc.func
def twice(value: gc.f32):
    return value * 2.0


@gc.kernel
def launched(x: gc.Array[gc.f32]) -> None:
    x[0] = 1.0


@gc.struct
class Point:
    pos: gc.vec3[gc.f32]
    mass: gc.f32


class Plain:
    @gc.func
    def twice(self):
        return 2.0


@gc.kernel
def launched(x: gc.Array[gc.f32]):
    x[0] = 1.0


def divides_integers(x: gc.Array[gc.i32]):
    x[0] = x[1] / x[2]


def stores_float_in_integer(x: gc.Array[gc.i32], a: gc.f32):
    x[0] = a * 2.0


def stores_float_literal_in_integer(x: gc.Array[gc.i32]):
    x[0] = 1.5


def literal_too_large(x: gc.Array[gc.u8]):
    x[0] = 300


def literal_negative_for_unsigned(x: gc.Array[gc.u8]):
    x[0] = x[0] + -1


def literal_too_large_for_a_variable(x: gc.Array[gc.i32]):
    n = 3000000000
    x[0] = n


def mixes_u64_and_signed(x: gc.Array[gc.u64], n: gc.i32):
    x[0] = x[0] + n


def name_misspelt(x: gc.Array[gc.f32]):
    value = x[0]
    x[1] = valeu


def builtin_misspelt(x: gc.Array[gc.f32]):
    x[gc.gobal_id(0)] = 1.0


def attribute_misspelt(x: gc.Array[gc.f32]):
    x[0] = x.shap[0]


def name_unset_on_a_path(x: gc.Array[gc.f32], n: gc.i32):
    if n > 3:
        value = 1.0
    x[0] = value


def name_set_only_in_a_loop(x: gc.Array[gc.f32], n: gc.i32):
    for i in range(n):
        last = x[i]
    x[0] = last


def array_without_an_index(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):
    y[0] = x * 2.0


def array_assigned_whole(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):
    y = x


def too_few_indices(x: gc.Array[gc.f32, 2]):
    x[0] = 1.0


def row_assigned_at_once(x: gc.Array[gc.f32, 2]):
    x[0, :] = 1.0


def row_where_a_number_is_wanted(x: gc.Array[gc.f32, 2], y: gc.Array[gc.f32]):
    y[0] = x[0] + 1.0


def negative_index(x: gc.Array[gc.f32]):
    x[-1] = 0.0


def float_index(x: gc.Array[gc.f32], a: gc.f32):
    x[a] = 0.0


def slice_of_an_array(x: gc.Array[gc.f32]):
    x[1:3] = 0.0


def index_past_a_shared_array(x: gc.Array[gc.f32]):
    tile = gc.shared(16, gc.f32)
    x[0] = tile[16]


def integer_as_condition(x: gc.Array[gc.i32]):
    if x[0]:
        x[1] = 1


def and_of_integers(x: gc.Array[gc.i32]):
    if x[0] > 0 and x[1]:
        x[1] = 1


def compares_with_is(x: gc.Array[gc.i32]):
    if x[0] is None:
        x[1] = 1


def loops_over_an_array(x: gc.Array[gc.f32]):
    for v in x:
        x[0] = v


def loops_with_enumerate(x: gc.Array[gc.f32]):
    for i, v in enumerate(x):
        x[i] = v


def loop_bound_is_float(x: gc.Array[gc.f32], n: gc.f32):
    for i in range(n):
        x[i] = 0.0


def static_range_of_a_run_time_value(x: gc.Array[gc.f32], n: gc.i32):
    for i in gc.static_range(n):
        x[i] = 0.0


def list_comprehension(x: gc.Array[gc.f32]):
    values = [v for v in range(3)]
    x[0] = values[0]


def list_literal(x: gc.Array[gc.f32]):
    values = [1.0, 2.0]
    x[0] = values[0]


def dictionary(x: gc.Array[gc.f32]):
    values = {"a": 1.0}
    x[0] = values["a"]


def f_string(x: gc.Array[gc.f32]):
    name = f"{x[0]}"


def prints_an_array(x: gc.Array[gc.f32]):
    print("x", x)


def prints_to_a_file(x: gc.Array[gc.f32]):
    print(x[0], file=None)


def prints_in_an_odd_format(x: gc.Array[gc.f32]):
    print(f"{x[0]:d}")


def raises(x: gc.Array[gc.f32]):
    if x[0] < 0.0:
        raise ValueError("negative")


def tries(x: gc.Array[gc.f32]):
    try:
        x[0] = 1.0
    except IndexError:
        pass


def with_statement(x: gc.Array[gc.f32]):
    with open("log"):
        x[0] = 1.0


def imports_inside(x: gc.Array[gc.f32]):
    import math as m

    x[0] = m.sqrt(x[0])


def inner_function_assigns_a_variable_around_it(x: gc.Array[gc.f32]):
    total = 0.0

    def add(v):
        nonlocal total
        total += v
        return v

    x[0] = add(x[0]) + total


def inner_function_adds_to_a_variable_around_it(x: gc.Array[gc.f32]):
    total = 0.0

    def add(v):
        total += v
        return total

    x[0] = add(x[0])


def inner_function_calls_itself(x: gc.Array[gc.f32]):
    def again(v):
        return again(v - 1.0) if v > 0.0 else v

    x[0] = again(x[0])


def inner_function_is_called_before_what_it_reads(x: gc.Array[gc.f32]):
    scaled = lambda v: v * factor
    x[0] = scaled(x[0])
    factor = 2.0


def inner_function_yields(x: gc.Array[gc.f32]):
    def numbers():
        yield 1.0

    x[0] = numbers()


def inner_function_is_async(x: gc.Array[gc.f32]):
    async def later(v):
        return v

    x[0] = x[1]


def inner_function_is_decorated(x: gc.Array[gc.f32]):
    @math.trunc
    def helper(v):
        return v

    x[0] = helper(x[0])


def inner_function_gets_too_many_arguments(x: gc.Array[gc.f32]):
    double_it = lambda v: v * 2.0
    x[0] = double_it(x[0], x[1])


def inner_function_is_stored(x: gc.Array[gc.f32]):
    x[0] = lambda v: v * 2.0


def function_is_chosen_by_data(x: gc.Array[gc.f32]):
    f = (lambda v: v * 2.0) if x[0] > 0.0 else (lambda v: v * 3.0)
    x[0] = f(x[0])


def function_is_chosen_in_a_branch(x: gc.Array[gc.f32]):
    f = lambda v: v * 2.0
    if x[0] > 0.0:
        f = lambda v: v * 3.0
    x[0] = f(x[0])


def function_is_defined_in_a_branch_only(x: gc.Array[gc.f32]):
    if x[0] > 0.0:
        f = lambda v: v * 3.0
    x[0] = f(x[0])


def function_in_a_tuple_is_chosen_by_data(x: gc.Array[gc.f32]):
    both = (lambda v: v * 2.0, lambda v: v * 3.0)
    x[0] = both[gc.i32(x[0])](x[0])


def returns_a_value(x: gc.Array[gc.f32]):
    return x[0]


def calls_a_plain_function(x: gc.Array[gc.f32]):
    x[0] = plain(x[0])


def calls_numpy(x: gc.Array[gc.f32]):
    x[0] = np.sqrt(x[0])


def calls_a_kernel(x: gc.Array[gc.f32]):
    launched(x)


def calls_recursively(x: gc.Array[gc.i32]):
    x[0] = factorial(x[0])


def calls_with_too_many(x: gc.Array[gc.f32]):
    x[0] = twice(x[0], x[1])


def calls_with_a_wrong_keyword(x: gc.Array[gc.f32]):
    x[0] = twice(valu=x[0])


def function_without_a_return_on_a_path(x: gc.Array[gc.i32]):
    x[0] = sometimes(x[0])


def closes_over_an_array(x: gc.Array[gc.f32]):
    x[0] = TABLE[0]


def captures_a_list(x: gc.Array[gc.f32]):
    x[0] = NAMES[0]


def captured_attribute_missing(x: gc.Array[gc.f32]):
    x[0] = settings.radios


def table_index_out_of_range(x: gc.Array[gc.f32]):
    x[0] = WEIGHTS[3]


def shared_shape_of_data(x: gc.Array[gc.f32], n: gc.Array[gc.i32]):
    tile = gc.shared((2, n[0]), gc.f32)
    x[0] = tile[0, 0]


def shared_shape_of_floats(x: gc.Array[gc.f32], n: gc.f32):
    tile = gc.shared(n, gc.f32)
    x[0] = tile[0]


def local_shape_at_run_time(x: gc.Array[gc.f32], n: gc.i32):
    tile = gc.local(n, gc.f32)
    x[0] = tile[0]


def shared_without_a_dtype(x: gc.Array[gc.f32]):
    tile = gc.shared((16, 16))
    x[0] = tile[0, 0]


def shared_in_a_branch(x: gc.Array[gc.f32], n: gc.i32):
    if n > 3:
        tile = gc.shared(16, gc.f32)
        x[0] = tile[0]


def barrier_in_a_branch(x: gc.Array[gc.f32]):
    i = gc.thread_id(0)
    if i < 16:
        x[i] = 1.0
        gc.barrier()


def barrier_after_a_return(x: gc.Array[gc.f32]):
    i = gc.global_id(0)
    if i >= x.shape[0]:
        return
    gc.barrier()
    x[i] = 1.0


def barrier_in_a_loop_of_the_thread(x: gc.Array[gc.f32]):
    for k in range(gc.thread_id(0)):
        gc.barrier()


def barrier_after_a_break(x: gc.Array[gc.f32], n: gc.i32):
    for k in range(n):
        gc.barrier()
        if x[gc.thread_id(0)] > 1.0:
            break


def axis_past_the_launch(x: gc.Array[gc.f32]):
    x[gc.global_id(1)] = 1.0


def axis_at_run_time(x: gc.Array[gc.f32], n: gc.i32):
    x[gc.global_id(n)] = 1.0


def ids_of_another_rank(x: gc.Array[gc.f32, 2]):
    i, j = gc.global_ids(2)
    x[i, j] = 1.0


def builtin_without_arguments(x: gc.Array[gc.f32]):
    x[gc.global_id()] = 1.0


def atomic_on_an_element(x: gc.Array[gc.i32]):
    gc.atomic_add(x[0], 1)


def atomic_on_a_value(x: gc.Array[gc.i32]):
    gc.atomic_add(x[0], 0, 1)


def atomic_float_into_integer(x: gc.Array[gc.i32]):
    gc.atomic_add(x, 0, 1.5)


def atomic_and_on_floats(x: gc.Array[gc.f32]):
    gc.atomic_and(x, 0, 1)


def bits_of_a_float(x: gc.Array[gc.f32]):
    x[0] = x[0] & 1


def shift_of_a_float(x: gc.Array[gc.f32]):
    x[0] = x[0] << 1


def negative_power(x: gc.Array[gc.i32]):
    x[0] = x[0] ** -1


def root_of_an_integer(x: gc.Array[gc.i32], y: gc.Array[gc.f32]):
    y[0] = math.sqrt(x[0])


def bitcast_to_another_width(x: gc.Array[gc.f32]):
    x[0] = gc.f32(gc.bitcast(x[0], gc.u64))


def cast_to_no_dtype(x: gc.Array[gc.f32]):
    x[0] = gc.cast(x[0], 32)


def cast_by_int(x: gc.Array[gc.f32], y: gc.Array[gc.i32]):
    y[0] = int(x[0])


def matrix_product(x: gc.Array[gc.f32, 2], y: gc.Array[gc.f32, 2]):
    x[0, 0] = x @ y


def unpacks_too_few(x: gc.Array[gc.f32, 2]):
    h, w, d = x.shape
    x[0, 0] = h


def walrus(x: gc.Array[gc.f32]):
    if (v := x[0]) > 1.0:
        x[1] = v


def value_dropped(x: gc.Array[gc.f32]):
    x[0] == 1.0


def keyword_misspelt(x: gc.Array[gc.f32]):
    x[gc.global_id(axes=0)] = 1.0


def else_of_a_loop(x: gc.Array[gc.f32], n: gc.i32):
    for i in range(n):
        x[i] = 0.0
    else:
        x[0] = 1.0


def transposed(x: gc.Array[gc.f32, 2]):
    x[0, 1] = x.transpose[0, 1]


def host_method(x: gc.Array[gc.f32]):
    x.fill(0.0)


def mathematics_for_later(x: gc.Array[gc.f32]):
    x[0] = math.fsum(x[0])


def rounded_literal_widened(x: gc.Array[gc.f32], y: gc.Array[gc.f64]):
    c = 0.2
    y[0] = c * y[1] + x[0]


def rounded_table_widened(x: gc.Array[gc.f32], y: gc.Array[gc.f64], i: gc.i32):
    y[0] = TENTHS[i]


def assert_message_is_no_string(x: gc.Array[gc.f32]):
    assert x[0] > 0.0, x[0]


def comparisons_joined_by_a_bit_operator(x: gc.Array[gc.f32], y: gc.Array[gc.i32]):
    y[0] = 1 if x[0] > 2 & x[0] < 5 else 0


def integers_joined_by_a_bit_operator(x: gc.Array[gc.i32], y: gc.Array[gc.i32]):
    y[0] = 1 if x[0] == 2 | x[0] == 5 else 0


def bit_operator_before_a_comparison(x: gc.Array[gc.f32]):
    if x[0] & x[1] > 2.0:
        x[2] = 1.0


def sum_of_a_tuple(x: gc.Array[gc.f32]):
    x[0] = sum((x[1], x[2]))


def method_of_an_array(x: gc.Array[gc.f32, 2]):
    x[0, 0] = x.sum()


def condition_is_an_array(x: gc.Array[gc.f32]):
    if x:
        x[0] = 1.0


def condition_is_a_tuple(x: gc.Array[gc.f32], n: gc.i32):
    t = (n, n)
    if t:
        x[0] = 1.0


def makes_an_array(x: gc.Array[gc.f32]):
    t = gc.array([1, 2])
    x[0] = t[0]


def makes_an_array_with_numpy(x: gc.Array[gc.f32]):
    t = np.zeros(3)
    x[0] = t[0]


def calls_a_lambda(x: gc.Array[gc.f32]):
    x[0] = double(x[1])


def captured_integers(x: gc.Array[gc.f32]):
    x[0] = COUNTS[0, 1]


def assert_message_is_formatted(x: gc.Array[gc.f32]):
    assert x[0] > 0.0, f"x is {x[0]}"


def index_becomes_a_float(x: gc.Array[gc.f32]):
    j = gc.global_id(0)
    x[j] = 1.0
    if x[0] > 0.0:
        j = x[1]


def range_in_steps_of_a_tenth(x: gc.Array[gc.f32]):
    for t in range(0, 1, 0.1):
        x[0] += t


def string_assigned(x: gc.Array[gc.f32]):
    t = "abc"
    x[0] = 1.0


def tuple_of_another_length(x: gc.Array[gc.f32]):
    t = (1.0, 2.0)
    if x[0] > 0.0:
        t = (1.0, 2.0, 3.0)
    x[0] = t[0]


def tuple_and_number(x: gc.Array[gc.f32]):
    t = (1.0, 2.0)
    if x[0] > 0.0:
        t = 1.0
    x[0] = t[0]


def unrolled_too_often(x: gc.Array[gc.f32]):
    for i in gc.static_range(300):
        for j in gc.static_range(300):
            x[i] += 1.0


def in_of_an_array(x: gc.Array[gc.f32]):
    if 1.0 in x:
        x[0] = 2.0


def identity(x: gc.Array[gc.f32]):
    if x[0] is x[1]:
        x[0] = 2.0


def attribute_of_a_mutable_dataclass(x: gc.Array[gc.f32]):
    x[0] = x[configuration.radius]


def loop_over_pairs_of_two_kinds(x: gc.Array[gc.f32], n: gc.i32):
    for w, i in zip(WEIGHTS, range(n)):
        x[i] = w


def names_of_an_enumerate(x: gc.Array[gc.f32]):
    for k, w, v in enumerate(WEIGHTS):
        x[k] = w


def two_names_of_a_range(x: gc.Array[gc.f32]):
    for i, j in range(3):
        x[i] = 1.0


def reversed_by_a_step_unknown(x: gc.Array[gc.f32], n: gc.i32):
    for i in reversed(range(0, 10, n)):
        x[i] = 1.0


def block_function_that_few_threads_call(x: gc.Array[gc.f32]):
    i = gc.global_id(0)
    if i > 3:
        x[i] = gc.block_sum(x[i])


def block_sum_of_a_flag(x: gc.Array[gc.f32]):
    x[0] = gc.block_sum(x[gc.thread_id(0)] > 1.0)


def broadcast_from_a_float(x: gc.Array[gc.f32]):
    x[0] = gc.block_broadcast(x[0], x[1])


def atomic_load_of_a_number(x: gc.Array[gc.f32]):
    x[0] = gc.atomic_load(x[0], 0)


def field_that_is_not_there(x: gc.Array[Point]):
    x[0].mass = x[0].mas


def struct_where_a_number_is_wanted(x: gc.Array[Point], y: gc.Array[gc.f32]):
    y[0] = x[0]


def number_where_a_struct_is_wanted(x: gc.Array[Point]):
    x[0] = 1.0


def struct_without_a_field(x: gc.Array[Point]):
    x[0] = Point(gc.vec3[gc.f32](0.0))


def sum_of_structs(x: gc.Array[Point]):
    x[0] = x[1] + x[2]


def vectors_of_two_lengths(x: gc.Array[gc.vec3[gc.f32]]):
    x[0] = x[1] + gc.vec2[gc.f32](1.0, 2.0)


def element_past_a_vector(x: gc.Array[gc.vec3[gc.f32]], y: gc.Array[gc.f32]):
    y[0] = x[0][3]


def order_of_complex_numbers(x: gc.Array[gc.complex64]):
    if x[0] < x[1]:
        x[0] = 1j


def complex_number_in_a_float(x: gc.Array[gc.complex64], y: gc.Array[gc.f32]):
    y[0] = x[0]


def function_not_of_complex_numbers(x: gc.Array[gc.complex64]):
    x[0] = gc.tanh(x[1])


def cross_of_numbers(x: gc.Array[gc.f32]):
    x[0] = gc.cross(x[0], x[1])


def vector_of_vectors(x: gc.Array[gc.f32]):
    v = gc.vec3[gc.vec2[gc.f32]](0.0)


def variable_of_two_records(x: gc.Array[gc.f32]):
    v = gc.vec2[gc.f32](0.0, 0.0)
    if x[0] > 1.0:
        v = gc.vec3[gc.f32](0.0, 0.0, 0.0)
    x[0] = v.x


def method_outside_a_struct(x: gc.Array[gc.f32]):
    x[0] = Plain.twice(x[0])


TYPES = (f32, i32, u8, u64)


def deletes_a_name(x: gc.Array[gc.f32]):
    t = 1.0
    del t
    x[0] = 1.0


def stores_none(x: gc.Array[gc.f32]):
    x[0] = None


def assigns_none(x: gc.Array[gc.f32]):
    t = None
    x[0] = t


def assigns_a_field_of_a_number(x: gc.Array[gc.f32]):
    x[0].real = 1.0


def reads_a_field_of_a_number(x: gc.Array[gc.f32]):
    x[0] = x[0].real


HALF = 2.5


def unrolls_to_a_fraction(x: gc.Array[gc.f32]):
    for k in gc.static_range(HALF):
        x[k] = 1.0


def tile_of_odd_shape(x: gc.Array2[gc.f16]):
    a = gc.tile.load_a(x, (0, 0), (16, 12))


def tile_of_f32(x: gc.Array2[gc.f32]):
    a = gc.tile.load_a(x, (0, 0), (16, 16))


def tile_of_one_axis(x: gc.Array[gc.f16]):
    a = gc.tile.load_a(x, (0, 0), (16, 16))


def tile_sums_in_f16(x: gc.Array2[gc.f16]):
    total = gc.tile.zeros((16, 16), gc.f16)


def tile_sums_bytes_in_f32(x: gc.Array2[gc.i8]):
    total = gc.tile.zeros((16, 16), gc.f32)
    total += gc.tile.load_a(x, (0, 0), (16, 16)) @ gc.tile.load_b(x, (0, 0), (16, 16))


def tiles_that_do_not_fit(x: gc.Array2[gc.f16]):
    total = gc.tile.zeros((16, 8), gc.f32)
    total += gc.tile.load_a(x, (0, 0), (16, 16)) @ gc.tile.load_b(x, (0, 0), (32, 8))


def tiles_the_wrong_way_round(x: gc.Array2[gc.f16]):
    total = gc.tile.zeros((16, 16), gc.f32)
    total += gc.tile.load_b(x, (0, 0), (16, 16)) @ gc.tile.load_a(x, (0, 0), (16, 16))


def tile_too_large(x: gc.Array2[gc.f16]):
    total = gc.tile.zeros((128, 128), gc.f32)


def tile_of_unknown_shape(x: gc.Array2[gc.f16], n: gc.i32):
    a = gc.tile.load_a(x, (0, 0), (n, 16))


def tile_at_one_index(x: gc.Array2[gc.f16]):
    a = gc.tile.load_a(x, 0, (16, 16))


def product_in_a_branch(x: gc.Array2[gc.f16]):
    total = gc.tile.zeros((16, 16), gc.f32)
    if gc.thread_id(0) < 32:
        total += gc.tile.load_a(x, (0, 0), (16, 16)) @ gc.tile.load_b(x, (0, 0), (16, 16))


def product_outside_of_a_sum(x: gc.Array2[gc.f16]):
    a = gc.tile.load_a(x, (0, 0), (16, 16))
    c = a @ gc.tile.load_b(x, (0, 0), (16, 16))


def tile_with_two_values(x: gc.Array2[gc.f16]):
    total = gc.tile.zeros((16, 16), gc.f32)
    total = gc.tile.zeros((16, 16), gc.f32)


def factor_stored(x: gc.Array2[gc.f16]):
    a = gc.tile.load_a(x, (0, 0), (16, 16))
    gc.tile.store(x, (0, 0), a)


def tile_added_to_a_number(x: gc.Array2[gc.f16]):
    total = gc.tile.zeros((16, 16), gc.f32)
    x[0, 0] = total + 1.0


def tile_of_words_without_a_dtype(x: gc.Array2[gc.u32]):
    a = gc.tile.load_a(x, (0, 0), (16, 16))


def tile_of_words_that_are_none(x: gc.Array2[gc.f16]):
    a = gc.tile.load_a(x, (0, 0), (16, 16), gc.f16)


def tile_of_words_of_f32(x: gc.Array2[gc.u32]):
    a = gc.tile.load_a(x, (0, 0), (16, 16), gc.f32)


def element_of_a_vector_assigned(x: gc.Array[gc.f32]):
    v = gc.vec3[gc.f32](1.0, 2.0, 3.0)
    v[2] = 5.0
    x[0] = v.z


def chosen_element_of_a_vector_assigned(x: gc.Array[gc.f32], n: gc.i32):
    v = gc.vec3[gc.f32](1.0, 2.0, 3.0)
    v[n] += 5.0
    x[0] = v.z


def element_of_a_number_assigned(x: gc.Array[gc.f32]):
    v = x[0]
    v[2] = 5.0


def kernel_launched_over_a_range(x: gc.Array[gc.f32]):
    launched.over(3)(x)


def kernel_launched_in_blocks(x: gc.Array[gc.f32]):
    launched[3, 4](x)


def stores_a_literal_that_is_too_large(x: gc.Array[gc.i32]):
    x[0] = 3_000_000_000


def stores_a_literal_that_no_integer_holds(x: gc.Array[gc.u64]):
    x[0] = 1 << 64


def prints_the_expression_too(x: gc.Array[gc.f32]):
    print(f"{x[0]=}")


def breakpoint_in_a_kernel(x: gc.Array[gc.f32]):
    breakpoint()
    x[0] = 1.0


def numbers_for_the_tuples_of_philox(x: gc.Array[gc.u32]):
    a, b, c, d = gc.random.philox(x[0], 2)


def too_short_a_counter_of_philox(x: gc.Array[gc.u32]):
    a, b, c, d = gc.random.philox((x[0], 0), (1, 2))


def atomic_on_an_array_of_structs(x: gc.Array[Point]):
    gc.atomic_add(x, 0, 1)


def struct_where_a_vector_is_wanted(x: gc.Array[gc.vec2[gc.f32]], y: gc.Array[Point]):
    x[0] = y[0]

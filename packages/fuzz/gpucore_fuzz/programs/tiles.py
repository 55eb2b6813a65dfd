"""The generator ``tiles``: random kernels with products of tiles, judged by a reference in NumPy's own numbers.

Products of bytes are exact, and their sums wrap. Half of the programs of f16 and bf16 hold numbers whose sums no order
rounds; they are right on every device. The others hold any numbers, and their sums are those that ``docs/numerics.md``
promises of devices without tensor cores; devices with them refuse these.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import linecache
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import click
import numpy as np
import numpy.typing as npt

import gpucore as gc
from gpucore.errors import NotSupportedError
from gpucore.ir.dtypes import dtype
from gpucore_fuzz.model import Verdict
from gpucore_fuzz.programs.arithmetic import bits_of, cast

__all__ = [
    "Data",
    "TileProgram",
    "TilePrograms",
    "arguments",
    "evaluate",
    "generate",
    "run",
    "shrink",
    "text_of",
]

FACTORS = ("i8", "f16", "bf16")
BLOCKS = ((32,), (64,), (96,), (128,), (1, 32), (2, 32), (32, 2), (8, 8), (4, 24), (2, 4, 8))
PLACES = ("array", "transposed", "words", "part", "shared")
"""Where a factor lies: an array, the transpose of one, words of u32, a part of an array of three axes, shared memory."""
STORED = {"i8": ("i32", "i32", "i64", "u32", "i8", "i16", "f32"), "f16": ("f32", "f32", "f16", "bf16", "f64")}
STORED["bf16"] = STORED["f16"]
GUARDS = ("", "gc.block_id(0) != 1", "limit > 2", "out.shape[1] > 1000")
"""What all threads of a block decide alike: whether the products are made."""
SHRUNK = 4

Data = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class TileProgram:
    """A kernel in which each group of threads has one or two tiles of sums.

    Attributes
    ----------
    factor, stored : str
        Dtypes of the factors and of the results.
    exact : bool
        Whether no order of the sums rounds.
    blocks : int
    block : tuple[int, ...]
    shape : tuple[int, int, int]
        Rows, columns, and depth of a product.
    steps : int
        Products one after another along the depth.
    products : tuple[tuple[int, int], ...]
        Of each step: which sum the product goes to, and which right factor it takes.
    left, right : str
        One of :data:`PLACES`.
    offsets : tuple[int, int, int]
        Of the parts in their arrays: rows, columns, depth.
    start : bool
        Whether the sums start with numbers from an array.
    loop : str
        ``for``, ``while``, or ``plain`` for steps written out.
    guard : str
        One of :data:`GUARDS`.
    called : bool
        Whether a device function makes the products.
    """

    seed: int
    factor: str
    stored: str
    exact: bool
    blocks: int
    block: tuple[int, ...]
    shape: tuple[int, int, int]
    steps: int
    products: tuple[tuple[int, int], ...]
    left: str
    right: str
    offsets: tuple[int, int, int]
    start: bool
    loop: str
    guard: str
    called: bool

    @property
    def groups(self) -> int:
        return int(np.prod(self.block)) // 32

    @property
    def tiles(self) -> int:
        return self.blocks * self.groups

    @property
    def sums(self) -> int:
        return 1 + max(total for total, _ in self.products)

    @property
    def rights(self) -> int:
        return 1 + max(right for _, right in self.products)

    @property
    def total(self) -> str:
        """The dtype of the sums."""
        return "i32" if self.factor == "i8" else "f32"

    @property
    def parts(self) -> int:
        """Products of parts of 8 by 8 elements."""
        m, n, k = self.shape
        return self.tiles * len(self.products) * self.steps * (m * n * k // 1024)

    @property
    def per(self) -> int:
        """Elements of a word."""
        return 4 if self.factor == "i8" else 2


def generate(seed: int) -> TileProgram:
    """The program of a seed; the same on every platform."""
    rng = Random(f"tiles {seed}")
    factor = rng.choice(FACTORS)
    products: tuple[tuple[int, int], ...] = rng.choice(
        (((0, 0),), ((0, 0),), ((0, 0), (0, 1)), ((0, 0), (1, 1)), ((0, 0), (1, 0)), ((0, 1), (1, 0), (0, 0)))
    )
    per = 4 if factor == "i8" else 2
    program = TileProgram(
        seed, factor, rng.choice(STORED[factor]), factor == "i8" or rng.random() < 0.5, rng.choice((1, 1, 2, 3)),
        rng.choice(BLOCKS), (16, 8, 16), 1, products, rng.choice(PLACES), rng.choice(PLACES),
        (rng.randrange(4), rng.randrange(4), per * rng.randrange(3)), rng.random() < 0.5,
        rng.choice(("for", "while", "plain")), rng.choice(GUARDS), rng.random() < 0.3,
    )  # fmt: skip
    # the interpreter takes its time for each part of a product, so that few programs have many
    budget = rng.choice((12, 12, 12, 24, 48))
    for _ in range(3):
        m, n, k = program.shape
        larger = rng.choice(
            (
                replace(program, shape=(rng.choice((32, 48)), n, k)),
                replace(program, shape=(m, rng.choice((16, 24, 32)), k)),
                replace(program, shape=(m, n, rng.choice((32, 48)))),
                replace(program, steps=rng.choice((2, 3))),
            )
        )
        program = larger if larger.parts <= budget else program
    return program


# --- data and the reference --------------------------------------------------------------------------------
_SPECIAL = (
    0.0,
    -0.0,
    float("inf"),
    float("-inf"),
    float("nan"),
    2.0**-24,
    -(2.0**-20),
    65504.0,
    1e30,
    -3e38,
    1e-38,
)


def _numbers(p: TileProgram, rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if p.factor == "i8":
        ends = rng.choice(np.array([-128, -127, -1, 0, 1, 127]), shape)
        return np.where(rng.random(shape) < 0.3, ends, rng.integers(-128, 128, shape)).astype(np.int8)
    kind = dtype(p.factor).numpy
    if p.exact:
        return (rng.integers(-8, 9, shape) * 2.0 ** -(p.seed % 4)).astype(kind)
    with np.errstate(over="ignore"):
        numbers = rng.normal(0.0, 1.0, shape) * 2.0 ** rng.integers(-6, 7, shape)
        if p.seed % 3 == 0:
            numbers = np.where(rng.random(shape) < 0.01, rng.choice(np.array(_SPECIAL), shape), numbers)
        return numbers.astype(kind)


def _factors(p: TileProgram) -> Data:
    """The factors of all groups, and what the sums start with."""
    rng = np.random.default_rng([p.seed, 7])
    (m, n, deep) = p.shape
    depth = p.steps * deep
    data = {"a": _numbers(p, rng, (p.tiles * m, depth)), "b": _numbers(p, rng, (p.rights, depth, 2 * n))}
    shape = (p.sums, p.tiles * m, n)
    if p.factor == "i8":
        data["c"] = rng.integers(-(2**31), 2**31, shape, dtype=np.int64).astype(np.int32)
    elif p.exact:
        data["c"] = (rng.integers(-99, 100, shape) * 4.0 ** -(p.seed % 4)).astype(np.float32)
    else:
        data["c"] = (rng.normal(0.0, 1.0, shape) * 2.0 ** rng.integers(-20, 21, shape)).astype(np.float32)
    return data


def evaluate(p: TileProgram) -> list[list[int]]:
    """The bits of the sums that the program stores, rows after rows."""
    data, (m, n) = _factors(p), p.shape[:2]
    wide: type[Any] = np.int64 if p.factor == "i8" else np.float32
    a, b = data["a"].astype(wide), data["b"].astype(wide)
    found = []
    with np.errstate(all="ignore"):
        for tile in range(p.tiles):
            rows, columns = slice(tile * m, tile * m + m), slice(tile % 2 * n, tile % 2 * n + n)
            sums: list[npt.NDArray[Any]] = [
                c[rows].astype(wide) if p.start else np.zeros((m, n), wide) for c in data["c"]
            ]
            for at, total, right in _order(p, tile // p.groups):
                # a product and a sum, each rounded once
                sums[total] = sums[total] + np.multiply.outer(a[rows, at], b[right, at, columns])
            for numbers in sums:
                whole = (numbers.astype(np.int32) if p.factor == "i8" else numbers).tolist()
                found += [[bits_of(cast(v, p.total, p.stored), p.stored) for v in row] for row in whole]
    return found


def _order(p: TileProgram, block: int) -> Iterator[tuple[int, int, int]]:
    """The products that a block adds, in turn: place along the depth, sum, right factor."""
    k = p.shape[2]
    if {"": True, GUARDS[1]: block != 1, GUARDS[2]: True, GUARDS[3]: False}[p.guard]:
        for first in range(0, p.steps * k, k):
            for total, right in p.products:
                for at in range(first, first + k):
                    yield at, total, right


def _padded(array: npt.NDArray[Any], before: tuple[int, int]) -> npt.NDArray[Any]:
    """A matrix within a larger one of ones, which no sum holds."""
    widths = [(before[0], 1), (before[1], 4)]
    return np.ascontiguousarray(np.pad(array, widths, constant_values=np.ones((), array.dtype)[()]))


def arguments(p: TileProgram) -> Data:
    """The arrays of a launch, by parameter."""
    data, (rows, columns, deep) = _factors(p), p.offsets
    given: Data = {"a": _laid_out(p, p.left, _padded(data["a"], (rows, deep)))}
    for number, right in enumerate(data["b"]):
        # of a right factor what would be that of a left one
        given[f"b{number}"] = _laid_out(p, p.right, _padded(right.T, (columns, deep)))
    for number, start in enumerate(data["c"]):
        given[f"c{number}"] = _padded(start, (rows, columns))
    shape = p.sums * p.tiles * p.shape[0] + 1, p.shape[1] + 1
    kind = dtype(p.stored).numpy
    given["out"] = np.full(shape[0] * shape[1] * kind.itemsize, 0xFF, np.uint8).view(kind).reshape(shape)
    return given


def _laid_out(p: TileProgram, place: str, matrix: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A left factor, its depth along the last axis, as the kernel takes it."""
    if place == "transposed":
        return np.ascontiguousarray(matrix.T)
    if place == "words":
        extra = -matrix.shape[1] % p.per
        return np.ascontiguousarray(np.pad(matrix, [(0, 0), (0, extra)])).view(np.uint32)
    return np.stack([np.zeros_like(matrix), matrix]) if place == "part" else matrix


# --- the text ----------------------------------------------------------------------------------------------
def text_of(p: TileProgram) -> str:
    """The program as the file that a user would save."""
    m, n, k = p.shape
    rows, columns, deep = p.offsets
    arrays = [("a", p.left, p.factor), *((f"b{r}", p.right, p.factor) for r in range(p.rights))]
    parameters = [
        f"{name}: gc.Array{3 if place == 'part' else 2}[gc.{'u32' if place == 'words' else t}]"
        for name, place, t in arrays
    ]
    parameters += [f"c{s}: gc.Array2[gc.{p.total}]" for s in range(p.sums)]
    parameters += [f"out: gc.Array2[gc.{p.stored}]", "limit: gc.i32"]
    linear = "gc.thread_id(0)"
    for axis in range(1, len(p.block)):
        linear = f"({linear}) * gc.block_dim({axis}) + gc.thread_id({axis})"
    lines = ["import gpucore as gc", ""]
    if p.called:
        lines += ["", "@gc.func", "def step(total, left, right):", "    total += left @ right", ""]
    lines += ["", "@gc.kernel", f"def k({', '.join(parameters)}) -> None:"]
    lines += [
        f"    linear = {linear}",
        "    group = linear // 32",
        f"    tile = gc.block_id(0) * {p.groups} + group",
    ]
    body: list[str] = []
    for name, place, _ in arrays:
        if place == "shared":
            part = (p.groups * m, k + 3) if name == "a" else (2 * n, k + 1)
            lines.append(f"    held_{name} = gc.shared({part}, gc.{p.factor})")
            above = f"gc.block_id(0) * {p.groups * m} + {rows}" if name == "a" else f"{columns}"
            body += [
                f"for e in range(linear, {part[0] * k}, {32 * p.groups}):",
                f"    held_{name}[e // {k}, e % {k}] = {name}[{above} + e // {k}, {deep} + q * {k} + e % {k}]",
            ]  # fmt: skip
    shared = "shared" in (p.left, p.right)
    body += ["gc.barrier()"] if shared else []
    body.append(f"left = {_loaded(p, 'a', p.left, f'tile * {m} + {rows}', (m, k))}")
    for r in range(p.rights):
        body.append(f"right{r} = {_loaded(p, f'b{r}', p.right, f'tile % 2 * {n} + {columns}', (k, n))}")
    for total, right in p.products:
        made = (
            f"step(total{total}, left, right{right})" if p.called else f"total{total} += left @ right{right}"
        )
        body.append(made)
    body += ["gc.barrier()"] if shared else []
    for s in range(p.sums):
        start = f"gc.tile.load_c(c{s}, (tile * {m} + {rows}, {columns}), ({m}, {n}))"
        lines.append(f"    total{s} = {start if p.start else f'gc.tile.zeros(({m}, {n}), gc.{p.total})'}")
    inner = "    "
    if p.guard:
        lines.append(f"    if {p.guard}:")
        inner += "    "
    lines += [inner + line for line in _repeated(p, body)]
    for s in range(p.sums):
        lines.append(f"    gc.tile.store(out, ((tile * {p.sums} + {s}) * {m}, 0), total{s})")
    return "\n".join(lines) + "\n"


def _loaded(p: TileProgram, name: str, place: str, line: str, shape: tuple[int, int]) -> str:
    """A load of a factor: ``line`` is the row of a left one, the column of a right one."""
    k, deep = p.shape[2], p.offsets[2]
    along = f"{deep} + q * {k}"
    if place == "words":
        along = f"{deep // p.per} + q * {k // p.per}"
    elif place == "shared":
        name, along = f"held_{name}", "0"
        line = f"group * {p.shape[0]}" if name == "held_a" else f"tile % 2 * {p.shape[1]}"
    elif place == "part":
        name = f"{name}[1]"
    left = shape[0] == p.shape[0] and name.rstrip("[1]").endswith("a")
    turned = (place == "transposed") == left
    index = f"({line}, {along})" if left else f"({along}, {line})"
    kind = f", gc.{p.factor}" if place == "words" else ""
    return f"gc.tile.load_{'a' if left else 'b'}({name}{'.T' if turned else ''}, {index}, {shape}{kind})"


def _repeated(p: TileProgram, body: list[str]) -> list[str]:
    if p.loop == "for":
        return [f"for q in range({p.steps}):", *("    " + line for line in body)]
    if p.loop == "while":
        return ["q = 0", f"while q < {p.steps}:", *("    " + line for line in body), "    q += 1"]
    lines: list[str] = []
    for step in range(p.steps):
        # a name of a tile is assigned once
        renamed = [line.replace("left", f"left_{step}").replace("right", f"right_{step}_") for line in body]
        lines += [f"q{step} = {step}", *(line.replace("q *", f"q{step} *") for line in renamed)]
    return lines


# --- running -----------------------------------------------------------------------------------------------
@contextlib.contextmanager
def loaded(p: TileProgram) -> Iterator[gc.Kernel[Any]]:
    """The kernel of a program, with its source where Python looks for it."""
    text = text_of(p)
    name = f"<gpucore fuzz tiles {id(p)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    try:
        namespace: dict[str, Any] = {"__name__": "gpucore_fuzz.program"}
        exec(compile(text, name, "exec", dont_inherit=True), namespace)
        yield namespace["k"]
    finally:
        linecache.cache.pop(name, None)


def run(p: TileProgram, context: gc.Context | None) -> list[list[int]]:
    """The bits that a context or, without one, the interpreter stores; NaNs are canonical."""
    given = arguments(p)
    grid = p.blocks, *(1,) * (len(p.block) - 1)
    with loaded(p) as kernel:
        if context is None:
            kernel.interpret(grid, p.block, *given.values(), 3, detect_races=False)
            out = given["out"]
        else:
            on_device = {name: context.array(array) for name, array in given.items()}
            kernel[grid, p.block](*on_device.values(), 3)
            out = on_device["out"].numpy()
    blank = np.full(out.dtype.itemsize, 0xFF, np.uint8).tobytes()
    if any(v.tobytes() != blank for v in (*out[-1], *out[:, -1])):
        raise AssertionError("the kernel wrote past its tiles")
    return [[bits_of(v, p.stored) for v in row] for row in out[:-1, :-1].tolist()]


def shrink(p: TileProgram, fails: Callable[[TileProgram], bool]) -> TileProgram:
    """The simplest program found that still fails."""
    progress = True
    while progress:
        progress = False
        for candidate in _simpler(p):
            if candidate != p and fails(candidate):
                p, progress = candidate, True
                break
    return p


def _simpler(p: TileProgram) -> Iterator[TileProgram]:
    yield replace(p, blocks=1)
    yield replace(p, block=(32,))
    yield replace(p, steps=1)
    yield replace(p, shape=(16, 8, 16))
    m, n, k = p.shape
    for shape in ((16, n, k), (m, 8, k), (m, n, 16)):
        yield replace(p, shape=shape)
    yield replace(p, products=((0, 0),))
    yield replace(p, guard="")
    yield replace(p, called=False)
    yield replace(p, start=False)
    yield replace(p, offsets=(0, 0, 0))
    yield replace(p, left="array")
    yield replace(p, right="transposed")
    yield replace(p, loop="for")
    yield replace(p, stored=p.total)


class _Runner:
    def __init__(self, target: str | None) -> None:
        self.context = None if target == "interpreter" else gc.Context(target)
        self.left = SHRUNK

    @property
    def where(self) -> tuple[str, str]:
        if self.context is None:
            return "interpreter", ""
        return self.context.backend, self.context.device.name

    def _wrong(self, p: TileProgram) -> str:
        """What is wrong of a program, empty where it is right."""
        wanted = evaluate(p)
        try:
            found = run(p, self.context)
        except NotSupportedError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a backend raises is the finding
            return f"# {type(error).__name__}: {error}"
        places = [(i, j) for i, row in enumerate(wanted) for j, v in enumerate(row) if found[i][j] != v]
        lines = [
            f"out[{i}, {j}]: {p.stored} is {wanted[i][j]:#x}, not {found[i][j]:#x}" for i, j in places[:6]
        ]
        return "\n".join(f"# {line}" for line in lines)

    def run(self, seed: int) -> Verdict:
        p = generate(seed)
        cores = self.context is not None and self.context.device.capabilities.supports(
            dtype(p.factor), "tile"
        )
        if cores and not p.exact:
            return Verdict(seed, "refused")
        try:
            wrong = self._wrong(p)
        except NotSupportedError:
            return Verdict(seed, "refused")
        if wrong:
            return Verdict(seed, "wrong", "", _described(p, wrong))
        return Verdict(seed, "right", hashlib.sha256(repr(evaluate(p)).encode()).hexdigest()[:32])

    def smaller(self, verdict: Verdict) -> Verdict:
        if not self.left:
            return verdict
        self.left -= 1
        p = shrink(generate(verdict.seed), lambda candidate: bool(self._wrong(candidate)))
        wrong = self._wrong(p)
        return dataclasses.replace(verdict, text=_described(p, wrong)) if wrong else verdict

    def close(self) -> None:
        if self.context is not None:
            self.context.close()


def _described(p: TileProgram, wrong: str) -> str:
    """A failing program, what it is made of, and what is wrong."""
    return f"{text_of(p)}# {p}\n{wrong}"


class _TileGenerator:
    summary = "Products of tiles of i8, f16 and bf16, against a reference in NumPy's numbers."

    def text(self, seed: int) -> str:
        return text_of(generate(seed))

    def check(self, target: str | None, checked: bool) -> None:
        if checked:
            raise click.ClickException("--checked goes with the generator blocks alone")

    def open(self, target: str | None, *, checked: bool) -> _Runner:
        return _Runner(target)


TilePrograms = _TileGenerator()

"""The generator ``tiles``: its reference is right, its programs reach what they should, wrong sums are found and made small."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from gpucore_fuzz.programs import tiles
from gpucore_fuzz.programs.arithmetic import apply, bits_of, cast
from gpucore_fuzz.programs.tiles import (
    BLOCKS,
    FACTORS,
    GUARDS,
    PLACES,
    TileProgram,
    TilePrograms,
    evaluate,
    generate,
    text_of,
)

PLAIN = TileProgram(
    5, "i8", "i32", True, 1, (32,), (16, 8, 16), 1, ((0, 0),), "array", "array", (0, 0, 0), False, "for", "", False
)  # fmt: skip


@pytest.mark.parametrize("factor", FACTORS)
def test_the_reference_adds_products_one_after_another(factor):
    stored = "i32" if factor == "i8" else "f32"
    p = replace(
        PLAIN,
        factor=factor,
        stored=stored,
        exact=factor == "i8",
        steps=2,
        products=((0, 0), (0, 1)),
        start=True,
    )
    data = tiles._factors(p)
    a, b, c = data["a"].tolist(), data["b"].tolist(), data["c"].tolist()
    wide = [[[cast(v, factor, stored) for v in row] for row in matrix] for matrix in (a, *b)]
    wanted = []
    for i in range(16):
        row = []
        for j in range(8):
            total = c[0][i][j]
            for first in (0, 16):
                for right in (0, 1):
                    for at in range(first, first + 16):
                        total = apply(
                            "+", stored, total, apply("*", stored, wide[0][i][at], wide[1 + right][at][j])
                        )
            row.append(bits_of(total, stored))
        wanted.append(row)
    assert evaluate(p) == wanted


def test_sums_of_exact_programs_are_the_same_in_any_order():
    for seed in range(60):
        p = generate(seed)
        data = tiles._factors(p)
        if p.exact and p.factor != "i8":
            a, b = np.abs(data["a"].astype(np.float64)), np.abs(data["b"].astype(np.float64))
            unit = 4.0 ** -(seed % 4)
            most = len(p.products) * (a @ b.max(0)).max() + np.abs(data["c"]).max()
            assert most < unit * 2**24
            assert not (data["c"] % unit).any()


def test_programs_reach_every_form():
    seen = Counter()
    for p in map(generate, range(400)):
        seen.update(
            [
                p.factor,
                p.exact,
                p.block,
                ("left", p.left),
                ("right", p.right),
                p.guard,
                p.loop,
                p.called,
                p.steps,
            ]
        )
        seen.update(
            [
                ("stored", p.stored),
                ("start", p.start),
                ("m", p.shape[0]),
                ("n", p.shape[1]),
                ("k", p.shape[2]),
            ]
        )
    places = [(side, place) for side in ("left", "right") for place in PLACES]
    stored = [("stored", "bf16"), ("stored", "i8"), ("m", 48), ("n", 32), ("k", 48)]
    for form in (*FACTORS, *BLOCKS, *places, *GUARDS, "for", "while", "plain", True, False, *stored, 3):
        assert seen[form] > 2, form


@pytest.mark.parametrize("target", ["interpreter", "cpu"])
def test_programs_are_right(target):
    runner = TilePrograms.open(target, checked=False)
    try:
        found = [runner.run(seed) for seed in (4, 6, 9)]
    finally:
        runner.close()
    assert [v.outcome for v in found] == ["right"] * 3, [v.text for v in found]


def test_a_wrong_sum_is_found_and_its_program_made_small(monkeypatch):
    def late(p, context):
        found = run(p, context)
        if p.right == "words":
            found[3][5] ^= 1
        return found

    run = tiles.run
    monkeypatch.setattr(tiles, "run", late)
    seed = next(s for s in range(100) if generate(s).right == "words")
    runner = TilePrograms.open("interpreter", checked=False)
    verdict = runner.smaller(runner.run(seed))
    assert verdict.outcome == "wrong"
    assert "# out[3, 5]: " in verdict.text
    small = (
        "blocks=1, block=(32,), shape=(16, 8, 16), steps=1, products=((0, 0),), left='array', right='words'"
    )
    assert small in verdict.text


def test_a_store_past_the_tiles_is_found(monkeypatch):
    shifted = text_of(PLAIN).replace(", 0), total0)", ", 1), total0)")
    monkeypatch.setattr(tiles, "text_of", lambda p: shifted)
    with pytest.raises(AssertionError, match="past its tiles"):
        tiles.run(PLAIN, None)

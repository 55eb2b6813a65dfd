"""The toolbox under AddressSanitizer, UBSan and ThreadSanitizer: create, use, drop, in threads; memory stays flat."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LIBRARIES = HERE.parent / "libraries"

ADDRESS = "-O1 -g -fsanitize=address,undefined"
WORK = """
import gc, os, sys, threading
import toolbox as t

def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def turn(i):
    with t.Box(i) as box:
        box.set(i + 1)
        assert box.plus(box).get() == 2 * (i + 1)
        box.shape(), box.shape_array(), box.value
    case = t.make_case()
    lid = case.open()
    lid.number(), lid.owner()
    if i % 2:
        case.close()
    lost = t.make_box(i)
    try:
        box.get()
        raise SystemExit("no error")
    except t.ClosedError:
        pass
    for how in (3, 7):
        try:
            t.fail_in_lambda(how)
        except t.StatusError:
            pass
    for kind in ("refusal", "memory", "long", "int"):
        try:
            t.throws(kind)
        except t.Error:
            pass
    t.same_text("text " * 10), t.same_bytes(b"bytes" * 10), t.squares(20), t.split(1.5), t.name_of(i % 100)
    t.dot([1.0, 2.0], [3.0, 4.0]), t.flags(), t.maybe_text(True), t.greet("x", 3), t.next_color()
    taken = t.make_case()
    t.swallow(taken)
    held = t.make_case()
    try:
        t.refuse(held)
    except t.RefusalError:
        pass
    if i % 100 == 0:
        assert t.each(5, lambda n: n) == 10
        assert t.each_in_threads(3, lambda n: n) == 3
        t.report(lambda *_: None)

turns = int(sys.argv[1])
for i in range(turns // 10):
    turn(i)
gc.collect()
before, live = memory(), t.live()
for i in range(turns):
    turn(i)
gc.collect()
grown = memory() - before
print(f"{turns} turns: {grown} bytes more, {live} then and {t.live()} now alive")
assert t.live() == live == (0, 0, 0)
assert grown < 8_000_000 or sys.argv[2] != "flat", grown

counter, stop = t.Counter(), threading.Event()
def use():
    while not stop.is_set():
        try:
            counter.add(1), counter.count
        except t.ClosedError:
            return
threads = [threading.Thread(target=use) for _ in range(4)]
[thread.start() for thread in threads]
threading.Event().wait(0.3)
counter.close()
[thread.join() for thread in threads]
boxes = [t.Box(i) for i in range(2)]
def cross(a, b):
    for _ in range(turns // 20):
        a.plus(b), b.set(1)
threads = [threading.Thread(target=cross, args=pair) for pair in (boxes, boxes[::-1])]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("threads done")
"""


def library(name: str) -> str:
    found = subprocess.run(
        ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(found).is_absolute():
        pytest.skip(f"g++ has no {name}")
    return found


@pytest.mark.parametrize(
    ("sanitizer", "flags", "runtime", "turns"),
    [
        ("none", "-O2", [], 10_000),
        ("address and undefined", f"{ADDRESS} -fno-sanitize-recover=all", ["libasan.so", "libubsan.so"], 10_000),
        ("thread", "-O1 -g -fsanitize=thread", ["libtsan.so"], 1_000),
    ],
    ids=["none", "address", "thread"],
)  # fmt: skip
def test_create_use_drop_is_clean_and_flat(
    make: Callable[..., Path], tmp_path: Path, sanitizer: str, flags: str, runtime: list[str], turns: int
) -> None:
    shutil.copy(LIBRARIES / "toolbox.hpp", tmp_path)
    shutil.copy(LIBRARIES / "toolbox.yaml", tmp_path)
    source = make(tmp_path / "toolbox.yaml", tmp_path / "made", f"{flags} -Wall -Wextra -Werror")
    environment = {
        **os.environ,
        "PYTHONPATH": str(source),
        "LD_PRELOAD": " ".join([*map(library, runtime), library("libstdc++.so.6")]) if runtime else "",
        # Python itself keeps memory until its end; what the bridge loses shows in the counts and the growth
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=4",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "TSAN_OPTIONS": "halt_on_error=1",
        "PYTHONMALLOC": "malloc" if runtime else "",
    }
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(turns), "flat"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    print(f"{sanitizer}: {done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    assert "threads done" in done.stdout
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr[-6000:]


@pytest.mark.parametrize("spec", ["toolbox.yaml", "original.yaml", "../../examples/zlib.yaml"])
def test_clang_compiles_without_a_warning(make: Callable[..., Path], tmp_path: Path, spec: str) -> None:
    if shutil.which("clang++") is None:
        pytest.skip("there is no clang++")
    make(LIBRARIES / spec, tmp_path / "made", "-O1 -Wall -Wextra -Werror", CC="clang", CXX="clang++")

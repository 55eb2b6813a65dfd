"""The mistakes of ``mistakes.py`` and the text of ``mistakes.txt``.  Run it to write the text anew, then read it."""

import importlib.util
import inspect
import re
import types
from pathlib import Path

from gpucore.errors import KernelSyntaxError, KernelTypeError
from gpucore.ir.dtypes import f32
from gpucore.lang import ArrayType, ScalarType, build, capture

HERE = Path(__file__).parent
GOLDEN = HERE / "mistakes.txt"
RULE = "-" * 8


def load():
    spec = importlib.util.spec_from_file_location("gpucore_mistakes", HERE / "mistakes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    own = {n: f for n, f in vars(module).items() if isinstance(f, types.FunctionType)}
    return {n: f for n, f in own.items() if f.__module__ == module.__name__ and n not in ("plain", "double")}


def argument_types(captured):
    found = []
    for p in captured.parameters:
        if p.kind == "scalar":
            found.append(ScalarType(p.dtype))
        else:
            found.append(ArrayType(p.dtype or f32, p.rank or 1))
    return found


def told(function):
    """What the author of a kernel is told, with the line counted from its def."""
    captured = capture(function, frame=inspect.currentframe())
    try:
        build(captured, argument_types(captured))
    except (KernelSyntaxError, KernelTypeError) as error:
        first = error.filename == captured.filename
        assert first, f"{function.__name__}: the error is not in the user's file but in {error.filename}"
        return error
    raise AssertionError(f"{function.__name__} is accepted")


def text(error):
    """The message with lines counted from the def that they stand in."""
    source = (HERE / "mistakes.py").read_text(encoding="utf-8").splitlines()

    def relative(line):
        start = max(n for n in range(1, line + 1) if source[n - 1].startswith("def "))
        return f"+{line - start}"

    place, _, rest = str(error).partition(": ")
    file, line, column = place.rsplit(":", 2)
    rest = re.sub(r"\(line (\d+)", lambda m: f"(line {relative(int(m[1]))}", rest)
    kind = next(k.__name__ for k in (KernelSyntaxError, KernelTypeError) if isinstance(error, k))
    return f"{kind} {Path(file).name}:{relative(int(line))}:{column}: {rest}"


def parse_golden():
    entries = {}
    for block in GOLDEN.read_text(encoding="utf-8").split(f"\n{RULE}\n"):
        name, _, body = block.strip("\n").partition("\n")
        entries[name] = body
    return entries


def write():
    blocks = [f"{name}\n{text(told(f))}" for name, f in load().items()]
    GOLDEN.write_text(f"\n{RULE}\n".join(blocks) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()

"""Shuffles of 64 bytes that LLVM's x86 code generator would work on for ever.

LLVM's passes turn a shuffle of words whose bytes an instruction takes into a shuffle of bytes, join shuffles, and move
operations before them: ``gc.dot4(x[i], s, 0)`` may end as bytes 0, 1, 2, 3, 0, 1, 2, 3, ... of ``s ^ 0x80808080``.  The code
generator then looks for a masked operation, so it does not make such a shuffle one of words again, and
``lowerV64I8Shuffle`` takes it apart twice, by repeated masks and by permuted lanes, where the second way gives what the
first began with: LLVM issues 198683 and 224266, mended by LLVM's pull requests 183109 and 224265, which LLVM 22 lacks.

What is shuffled goes through an empty line of assembly here, which makes no instruction: the code generator does not see the
operation, and the shuffle becomes one of words, mostly a broadcast.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["guard_byte_shuffles"]

_NAME = r'%(?:"[^"]*"|[-\w$.]+)'
_SHUFFLE = re.compile(rf"  {_NAME} = shufflevector <64 x i8> .*, <(?:64|128) x i32> ")
_OPERAND = re.compile(rf"<64 x i8> ({_NAME})")
_DEFINITION = re.compile(rf"  ({_NAME}) = (.*)")
_CAST = re.compile(rf"bitcast <.*> ({_NAME}) to ")
_NO_OPERATION = re.compile(r"load|phi|insertelement|shufflevector|(?:tail )?call .*@llvm\.masked\.load\.")
"""What is never part of a masked operation."""


def guard_byte_shuffles(text: str) -> str:
    """LLVM IR that the code generator ends with: the same text where it has no shuffle of the kind.

    Parameters
    ----------
    text : str
        As LLVM prints a module, after its passes.
    """
    if "shufflevector <64 x i8>" not in text:
        return text
    return "\ndefine ".join(map(_guard_function, text.split("\ndefine ")))


def _guard_function(text: str) -> str:
    if "shufflevector <64 x i8>" not in text:
        return text
    lines = text.split("\n")
    definitions = {found[1]: found[2] for line in lines if (found := _DEFINITION.match(line)) is not None}
    return "\n".join(_guarded(lines, definitions))


def _guarded(lines: list[str], definitions: dict[str, str]) -> Iterator[str]:
    count = 0
    for line in lines:
        if _SHUFFLE.match(line) is None:
            yield line
            continue
        for name in dict.fromkeys(_OPERAND.findall(line)):
            if not _may_be_operation(name, definitions):
                continue
            count += 1
            opaque = f"%opaque.bytes.{count}"
            yield f'  {opaque} = call <64 x i8> asm "", "=v,0"(<64 x i8> {name}) nounwind memory(none)'
            line = re.sub(rf"<64 x i8> {re.escape(name)}(?=,)", f"<64 x i8> {opaque}", line)
        yield line


def _may_be_operation(name: str, definitions: dict[str, str]) -> bool:
    definition = definitions.get(name)
    while definition is not None and (cast := _CAST.match(definition)) is not None:
        definition = definitions.get(cast[1])
    return definition is not None and _NO_OPERATION.match(definition) is None

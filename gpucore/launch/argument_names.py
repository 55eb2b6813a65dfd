"""What a launch function is written for, and the names that its text gives to the arguments."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpucore.lang.types import ArgumentType, Parameter
    from gpucore.runtime.signature import Signature
    from gpucore.runtime.stream import LaunchOptions

__all__ = ["Arguments", "ArrayNames", "Names"]


@dataclass(frozen=True)
class Arguments:
    """What a launch function is written for.

    Attributes
    ----------
    kernel : str
    parameters : tuple[Parameter, ...]
        As the user wrote them.
    types : tuple[ArgumentType, ...]
    signatures : tuple[Signature | None, ...]
        Of the arrays.
    constants : Sequence[tuple[Any, str, Any]]
        Where captured constants live: a mapping or object, the name in it, the value then.
    written : frozenset[str]
        Names of the arrays that the kernel writes.
    options : tuple
        How launches without arrays are checked, and their math mode: ``Stream._options``.
    """

    kernel: str
    parameters: tuple[Parameter, ...]
    types: tuple[ArgumentType, ...]
    signatures: tuple[Signature | None, ...]
    constants: Sequence[tuple[Any, str, Any]]
    written: frozenset[str]
    options: LaunchOptions


class Names:
    """Unique Python names, the user's first."""

    def __init__(self, reserved: Iterable[str]) -> None:
        self._used = {*reserved, *keyword.kwlist, *dir(builtins)}

    def new(self, name: str) -> str:
        while name in self._used:
            name += "_"
        self._used.add(name)
        return name


@dataclass
class ArrayNames:
    """The names that a launch function uses for one array."""

    signature: Signature
    parameter: str
    name: str
    block: str
    packed: str

"""What lives on a device: contexts, memory, arrays, streams, events, copies.

Here: what objects that users hold have in common, their names in ``help`` and a device of this process that they live with.
"""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["ProcessBound", "PublicNames"]


_SHOWN = ("__getitem__", "__len__", "__repr__", "__dlpack__", "__dlpack_device__")


class PublicNames(type):
    """The class of classes whose ``dir`` and ``help`` show what one may use.

    Private names are left out, and so are operators that are there for their error alone.
    """

    def __dir__(cls) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_") or name in _SHOWN]


class ProcessBound:
    """Can be neither pickled nor copied, and says so."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            f"this {type(self).__name__} belongs to a device of this process and can be neither pickled nor copied; make "
            "another where it is wanted"
        )

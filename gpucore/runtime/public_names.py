"""What ``help`` shows of a class."""

from __future__ import annotations

__all__ = ["PublicNames"]

_SHOWN = ("__getitem__", "__len__", "__repr__", "__dlpack__", "__dlpack_device__")


class PublicNames(type):
    """The class of classes whose ``dir`` and ``help`` show what one may use.

    Private names are left out, and so are operators that are there for their error alone.
    """

    def __dir__(cls) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_") or name in _SHOWN]

"""Objects that live with a device of this process."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["ProcessBound"]


class ProcessBound:
    """Can be neither pickled nor copied, and says so."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            f"this {type(self).__name__} belongs to a device of this process and can be neither pickled nor copied; make "
            "another where it is wanted"
        )

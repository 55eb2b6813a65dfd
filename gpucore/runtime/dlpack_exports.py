"""DLPack's structures, and what consumers hold of ours: kept alive until they give it back, past the interpreter's end too.

A consumer gives memory back by calling the deleter, a C function.  While the interpreter runs that is a callback into it.  When
it ends, consumers may still be alive, in ``sys`` or in another module, and are torn down after everything that a callback
needs; so at the exit their deleters become a function that does nothing, and what they hold stays where it is.

Capsules carry no destructor: it would be called with another library's exception under way, which a callback cannot keep.  A
capsule that nobody took is found by looking, whenever memory is wanted or given back.
"""

from __future__ import annotations

import atexit
import ctypes
import sys
import threading
from typing import Any

__all__ = ["DELETER", "Exports", "Managed", "ManagedVersioned", "api", "exports"]


class Device(ctypes.Structure):
    """``DLDevice``."""

    _fields_ = [("type", ctypes.c_int32), ("number", ctypes.c_int32)]


class DataType(ctypes.Structure):
    """``DLDataType``."""

    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class Tensor(ctypes.Structure):
    """``DLTensor``."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", Device),
        ("ndim", ctypes.c_int32),
        ("dtype", DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class Managed(ctypes.Structure):
    """``DLManagedTensor``."""

    _fields_ = [("tensor", Tensor), ("manager", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class Version(ctypes.Structure):
    """``DLPackVersion``."""

    _fields_ = [("major", ctypes.c_uint32), ("minor", ctypes.c_uint32)]


class ManagedVersioned(ctypes.Structure):
    """``DLManagedTensorVersioned``."""

    _fields_ = [
        ("version", Version),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    ]


DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

api = ctypes.pythonapi
api.PyCapsule_New.restype = ctypes.py_object
api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
api.PyCapsule_GetPointer.restype = ctypes.c_void_p
api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
api.PyCapsule_IsValid.restype = ctypes.c_int
api.PyCapsule_IsValid.argtypes = [ctypes.py_object, ctypes.c_char_p]
api.PyCapsule_SetName.restype = ctypes.c_int
api.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
_keep_for_ever = ctypes.PYFUNCTYPE(None, ctypes.py_object)(("Py_IncRef", api))

# names must outlive the capsules that carry them
PLAIN, PLAIN_USED = ctypes.c_char_p(b"dltensor"), ctypes.c_char_p(b"used_dltensor")
VERSIONED = ctypes.c_char_p(b"dltensor_versioned")
VERSIONED_USED = ctypes.c_char_p(b"used_dltensor_versioned")


def _references_when_alone() -> int:
    """What ``sys.getrefcount`` says in :meth:`Exports.sweep` of what nobody outside holds; Pythons differ."""
    table = {0: object()}
    for _, held in list(table.items()):
        return sys.getrefcount(held)
    raise AssertionError


class Exports:
    """What consumers hold.

    Attributes
    ----------
    capsules : dict[int, object]
        Capsules that may not have been taken yet, by the address of their structure.
    """

    def __init__(self) -> None:
        self.capsules: dict[int, Any] = {}
        self._held: dict[int, tuple[Any, ...]] = {}
        # a collection within may run finalizers that export
        self._lock = threading.RLock()
        self._alone = _references_when_alone()
        self._ending = False
        self._callback = DELETER(self._give_back)
        self._deleter = ctypes.cast(self._callback, ctypes.c_void_p).value
        # a function of Python's own that reads a number and returns, with or without an interpreter
        self._nothing = ctypes.cast(api.Py_IsInitialized, ctypes.c_void_p).value
        atexit.register(self.hand_over)

    def capsule(self, managed: Managed | ManagedVersioned, *held: Any) -> Any:
        """A capsule with the structure, which stays alive, as does ``held``, until its consumer gives it back."""
        self.sweep()
        address = ctypes.addressof(managed)
        name = VERSIONED if isinstance(managed, ManagedVersioned) else PLAIN
        with self._lock:
            managed.deleter = self._nothing if self._ending else self._deleter
            self._held[address] = (managed, *held)
            made = api.PyCapsule_New(address, name, None)
            self.capsules[address] = made
            return made

    def _give_back(self, address: int) -> None:
        self._held.pop(address, None)

    def sweep(self) -> None:
        """Give back what capsules hold that are gone and were never taken."""
        if not self.capsules:
            return
        with self._lock:
            for address, capsule in list(self.capsules.items()):
                if sys.getrefcount(capsule) > self._alone or self.capsules.pop(address, None) is None:
                    continue
                if api.PyCapsule_IsValid(capsule, PLAIN) or api.PyCapsule_IsValid(capsule, VERSIONED):
                    self._held.pop(address, None)

    def hand_over(self) -> None:
        """Let what consumers hold outlive the interpreter, which ends now."""
        with self._lock:
            self._ending = True
            _keep_for_ever(self._held)
            _keep_for_ever(self._callback)  # a consumer may have read the deleter before
            for managed, *_ in list(self._held.values()):
                managed.deleter = self._nothing


exports = Exports()

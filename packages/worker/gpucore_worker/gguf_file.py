"""GGUF files: everything that a file says is checked before it is believed.

The format is ggml's (``docs/gguf.md`` of its repository), versions 2 and 3, little-endian. Nothing is read past the
end of the file, no count
reserves memory before the bytes that it promises are seen to be there, and every refusal says what is wrong at which byte.
"""

from __future__ import annotations

import math
import mmap
import os
import stat
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

import numpy as np
import numpy.typing as npt

from gpucore_worker.errors import ModelError
from gpucore_worker.quantisation import OTHERS, QUANTISATIONS, Quantisation, file_block
from gpucore_worker.strings import Strings, short_strings

Scalar = int | float | bool | str
Value = Scalar | Strings | list[bool] | npt.NDArray[np.generic]

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_DIMENSIONS = 4
MAX_KEY = 65_535
MAX_TENSOR_NAME = 1024
_LARGEST = (1 << 63) - 1
_STRING, _ARRAY, _BOOL = 8, 9, 7
_NUMBERS: Mapping[int, str] = {
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip
_LENGTH = struct.Struct("<Q")
_SMALLEST_ENTRY = 8 + 1 + 4 + 1
_SMALLEST_TENSOR = 8 + 1 + 4 + 8 + 4 + 8


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a file.

    Attributes
    ----------
    name : str
    shape : tuple[int, ...]
        In array order: the last axis is contiguous, so that of a matrix is a row's.
    quantisation : Quantisation
    offset, nbytes : int
        Where its data are in the file.
    """

    name: str
    shape: tuple[int, ...]
    quantisation: Quantisation
    offset: int
    nbytes: int


class _Reader:
    """Reads numbers and strings from the head of a file, never past its end."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data = data
        self.path = path
        self.at = 0

    def refuse(self, what: str, at: int | None = None) -> NoReturn:
        raise ModelError(
            f"{self.path}: {what} (at byte {self.at if at is None else at:,} of {len(self.data):,})"
        )

    def take(self, size: int, what: str) -> bytes:
        if size > len(self.data) - self.at:
            self.refuse(
                f"the file ends within {what}, which takes {size:,} bytes; it is truncated or damaged: get it again"
            )
        found = self.data[self.at : self.at + size]
        self.at += size
        return found

    def u32(self, what: str) -> int:
        return int(struct.unpack("<I", self.take(4, what))[0])

    def u64(self, what: str) -> int:
        return int(struct.unpack("<Q", self.take(8, what))[0])

    def text(self, what: str, most: int = _LARGEST) -> str:
        begin = self.at
        size = self.u64(f"the length of {what}")
        if size > most:
            self.refuse(f"{what} has {size:,} bytes; at most {most:,} are allowed", begin)
        raw = self.take(size, what)
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            self.refuse(f"{what} is not UTF-8: {error.reason}", begin)

    def value(self, kind: int, what: str) -> Value:
        if kind == _STRING:
            return self.text(what)
        if kind == _BOOL:
            return self._bool(what)
        if kind == _ARRAY:
            return self._array(what)
        if kind not in _NUMBERS:
            self.refuse(f"{what} has the unknown value type {kind}")
        dtype = np.dtype(_NUMBERS[kind])
        number: int | float = np.frombuffer(self.take(dtype.itemsize, what), dtype)[0].item()
        return number

    def _bool(self, what: str) -> bool:
        byte = self.take(1, what)[0]
        if byte > 1:
            self.refuse(f"{what} is a bool of value {byte}; 0 or 1 was expected", self.at - 1)
        return bool(byte)

    def _array(self, what: str) -> Value:
        begin = self.at
        kind = self.u32(f"the element type of {what}")
        count = self.u64(f"the length of {what}")
        left = len(self.data) - self.at
        if kind == _ARRAY:
            self.refuse(f"{what} is an array of arrays, which no known model has", begin)
        if kind not in (_STRING, _BOOL) and kind not in _NUMBERS:
            self.refuse(f"{what} has the unknown element type {kind}", begin)
        size = 8 if kind == _STRING else 1 if kind == _BOOL else np.dtype(_NUMBERS[kind]).itemsize
        if count > left // size:
            self.refuse(f"{what} claims {count:,} elements; the {left:,} bytes left cannot hold them", begin)
        if kind == _STRING:
            return self._strings(count, what)
        if kind == _BOOL:
            return [self._bool(f"element {i} of {what}") for i in range(count)]
        return np.frombuffer(self.take(count * size, what), _NUMBERS[kind])

    def _strings(self, count: int, what: str) -> Strings:
        """Finds the lengths, of which there may be hundreds of thousands, without decoding a string."""
        begins = short_strings(self.data, self.at, count)
        if begins is None:
            begins = np.array(self._lengths(count, what), np.int64)
        found = Strings(self.take(int(begins[-1]), what), begins)
        if not found.valid():
            self.at -= int(begins[-1])
            for number in range(count):
                self.text(f"element {number} of {what}")
        return found

    def _lengths(self, count: int, what: str) -> list[int]:
        """Where each of so many strings begins, from here, and where the last ends: one by one."""
        first = at = self.at
        begins: list[int] = []
        try:
            for _ in range(count):
                begins.append(at - first)
                at += 8 + _LENGTH.unpack_from(self.data, at)[0]
        except (struct.error, OverflowError):  # beyond the file
            at = len(self.data) + 1
        if at > len(self.data):
            # once more and slowly, for the message
            for number in range(count):
                self.text(f"element {number} of {what}")
        return [*begins, at - first]


class GGUFFile:
    """A GGUF file, memory-mapped.

    Parameters
    ----------
    path : path-like

    Attributes
    ----------
    path : Path
    version : int
    metadata : Mapping[str, Value]
        What the file says of itself: numbers, bools, strings, and arrays of these.
    tensors : Mapping[str, Tensor]
    nbytes : int
        Of the file.

    Raises
    ------
    ModelError
        The file is none, is damaged, or holds a quantisation that is not known; the message says what, and at which byte.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            # a pipe would be waited for, for ever
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise ModelError(f"{self.path}: no file; a GGUF file was expected")
            with self.path.open("rb") as file:
                self.nbytes = os.fstat(file.fileno()).st_size
                if self.nbytes < len(MAGIC) + 4 + 8 + 8:
                    raise ModelError(
                        f"{self.path}: {self.nbytes} bytes are no GGUF file; its head alone takes 24"
                    )
                # pages of our own if they were written, which they are not: kernels take no memory that is read-only
                self._map: mmap.mmap | None = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except OSError as error:
            raise ModelError(f"{self.path}: the file cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"{str(self.path)!r} is no path: {error}") from error
        self._read(self._map)

    def _read(self, data: mmap.mmap) -> None:
        reader = _Reader(data, self.path)
        magic = reader.take(4, "the magic number")
        if magic != MAGIC:
            reader.refuse(f"the file begins with {magic!r}; a GGUF file begins with {MAGIC!r}", 0)
        self.version = reader.u32("the version")
        if self.version not in VERSIONS:
            if struct.unpack(">I", struct.pack("<I", self.version))[0] in VERSIONS:
                reader.refuse("the file is big-endian; convert it for a little-endian machine", 4)
            reader.refuse(f"GGUF version {self.version} is not known; versions 2 and 3 are", 4)
        tensors = self._count(reader, "tensors", _SMALLEST_TENSOR)
        entries = self._count(reader, "metadata entries", _SMALLEST_ENTRY)
        self.metadata = self._metadata(reader, entries)
        self.tensors = self._tensors(reader, tensors)

    def _count(self, reader: _Reader, what: str, smallest: int) -> int:
        count = reader.u64(f"the number of {what}")
        most = (self.nbytes - reader.at) // smallest
        if count > most:
            reader.refuse(
                f"{count:,} {what} are claimed; the file has room for {most:,} at most", reader.at - 8
            )
        return count

    def _metadata(self, reader: _Reader, count: int) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for number in range(count):
            begin = reader.at
            key = reader.text(f"the key of metadata entry {number}", MAX_KEY)
            if not key or key in found:
                reader.refuse(f"the metadata key {key!r} is {'there twice' if key else 'empty'}", begin)
            kind = reader.u32(f"the type of {key!r}")
            found[key] = reader.value(kind, repr(key))
        return found

    def _tensors(self, reader: _Reader, count: int) -> dict[str, Tensor]:
        alignment = self.metadata.get("general.alignment", 32)
        if isinstance(alignment, bool) or not isinstance(alignment, int) or alignment < 8 or alignment % 8:
            reader.refuse(f"general.alignment is {alignment!r}; a multiple of 8 was expected")
        found: dict[str, Tensor] = {}
        for number in range(count):
            tensor = self._tensor(reader, number, alignment)
            if tensor.name in found:
                reader.refuse(f"the tensor {tensor.name!r} is there twice")
            found[tensor.name] = tensor
        start = -(-reader.at // alignment) * alignment
        placed = {
            name: Tensor(t.name, t.shape, t.quantisation, start + t.offset, t.nbytes)
            for name, t in found.items()
        }
        self._inside(reader, placed)
        return placed

    def _tensor(self, reader: _Reader, number: int, alignment: int) -> Tensor:
        begin = reader.at
        name = reader.text(f"the name of tensor {number}", MAX_TENSOR_NAME)
        axes = reader.u32(f"the number of axes of {name!r}")
        if not 1 <= axes <= MAX_DIMENSIONS:
            reader.refuse(f"the tensor {name!r} has {axes} axes; 1 to {MAX_DIMENSIONS} are allowed", begin)
        shape = tuple(reader.u64(f"the shape of {name!r}") for _ in range(axes))
        count = math.prod(shape)
        if min(shape) < 1 or count > _LARGEST // 8:
            reader.refuse(f"the tensor {name!r} has the impossible shape {shape}", begin)
        kind = reader.u32(f"the type of {name!r}")
        quantisation = QUANTISATIONS.get(kind)
        if quantisation is None:
            known = ", ".join(q.name for q in QUANTISATIONS.values())
            reader.refuse(
                f"the tensor {name!r} is stored as {OTHERS.get(kind, f'type {kind}')}, which is not supported; {known} are",
                begin,
            )
        weights, nbytes = file_block(quantisation)
        if shape[0] % weights:
            reader.refuse(
                f"rows of the tensor {name!r} have {shape[0]} elements; {quantisation.name} stores blocks of {weights}",
                begin,
            )
        offset = reader.u64(f"the offset of {name!r}")
        if offset % alignment:
            reader.refuse(
                f"the tensor {name!r} is at offset {offset}, not a multiple of the alignment {alignment}",
                begin,
            )
        return Tensor(name, shape[::-1], quantisation, offset, count // weights * nbytes)

    def _inside(self, reader: _Reader, tensors: Mapping[str, Tensor]) -> None:
        last: Tensor | None = None
        for tensor in sorted(tensors.values(), key=lambda t: t.offset):
            if tensor.offset + tensor.nbytes > self.nbytes:
                reader.refuse(
                    f"the tensor {tensor.name!r} ends at byte {tensor.offset + tensor.nbytes:,}, beyond the file; "
                    "it is truncated or damaged: get it again"
                )
            if last is not None and tensor.offset < last.offset + last.nbytes:
                reader.refuse(f"the tensors {last.name!r} and {tensor.name!r} overlap")
            last = tensor

    # --- access
    def raw(self, tensor: Tensor, begin: int = 0, end: int | None = None) -> npt.NDArray[np.uint8]:
        """Bytes of a tensor, from ``begin`` to ``end``, without a copy; they live as long as the file is open."""
        size = (tensor.nbytes if end is None else end) - begin
        found = np.frombuffer(
            self._mapped(tensor.offset + begin + size), np.uint8, size, tensor.offset + begin
        )
        found.flags.writeable = False
        return found

    def everything(self, dtype: str) -> npt.NDArray[np.generic]:
        """The whole file as numbers, without a copy; what does not make a whole one at its end is left out."""
        data = self._mapped(self.nbytes)
        return np.frombuffer(data, dtype, len(data) // np.dtype(dtype).itemsize)

    def _mapped(self, end: int) -> mmap.mmap:
        if self._map is None:
            raise ModelError(f"{self.path}: the file was closed")
        # to read what is mapped of a file that became shorter ends the process
        if self._map.size() < end:
            raise ModelError(
                f"{self.path}: the file became shorter while it was in use; load the model again"
            )
        return self._map

    def forget(self) -> None:
        """Let the system take back the memory in which the file is mapped; what is read again comes from the file again."""
        if sys.platform != "win32" and self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Let go of the file; it stays mapped for as long as there are arrays of its data."""
        self._map = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

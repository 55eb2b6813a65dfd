"""Names: which are free, and what the C symbols are called. Every tier takes its symbols from here."""

from __future__ import annotations

import keyword
import re

_CPP = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class compl
concept const consteval constexpr constinit const_cast continue co_await co_return co_yield decltype default delete do
double dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable namespace
new noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires return
short signed sizeof static static_assert static_cast struct switch template this thread_local throw true try typedef
typeid typename union unsigned using virtual void volatile wchar_t while xor xor_eq
"""
CPP_KEYWORDS = frozenset(_CPP.split())
# Macros and types of C's headers: no parameter can have their names.
_C = """
assert errno EOF NULL stdin stdout stderr offsetof int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t uintptr_t
intptr_t size_t ssize_t ptrdiff_t va_arg va_end va_list va_start INFINITY NAN
"""
C_NAMES = frozenset(_C.split())
# Names that the generated package has of its own.
PACKAGE_NAMES = frozenset(
    {
        "Error",
        "NativeError",
        "OutOfMemoryError",
        "ClosedError",
        "NullError",
        "BusyError",
        "UnavailableError",
        "Handle",
    }
)
# Symbols that every bridge has.
OWN_SYMBOLS = ("failure", "blob", "take_failure", "blob_free", "built_with_library", "end_callbacks")
HANDLE_NAMES = frozenset({"close", "closed", "self"})


def unusable(name: str, cpp: bool = True) -> str | None:
    """Why a name cannot be a name in Python and, if `cpp`, one in C++, or None."""
    if keyword.iskeyword(name):
        return "a keyword of Python"
    if cpp and name in CPP_KEYWORDS:
        return "a keyword of C++"
    if cpp and name in C_NAMES:
        return "a macro or a type of C"
    if name == "std":
        return "the name of C++'s own library"
    if name.lower().startswith("gpw"):
        return "kept for the bridge, as all names that begin with gpw"
    if "__" in name:
        return "not usable in C++, as all names with two underscores in a row"
    if len(name) > 120:
        return "longer than 120 characters"
    return None


def snake(name: str) -> str:
    """`CudaDeviceMem` to `cuda_device_mem`."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return text.lower()


def camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


class Symbols:
    """The C symbols of one library: `gpw_<library>_<name>`, the library's name never doubled, none given twice."""

    def __init__(self, library: str) -> None:
        self.library = snake(library)
        self.prefix = f"gpw_{self.library}"
        self._given = {f"{self.prefix}_{name}" for name in OWN_SYMBOLS}
        self._known: dict[tuple[str, ...], str] = {}

    def __call__(self, *parts: str) -> str:
        """The symbol of these parts, the same one each time; a part of the bridge's own ends in `!`."""
        known = self._known.get(parts)
        if known is not None:
            return known
        words = [snake(part.rstrip("!")) for part in parts]
        name = words[0]
        for word in words[1:]:
            name = word if word.startswith(f"{name}_") else f"{name}_{word}"
        if name != self.library and not name.startswith(f"{self.library}_"):
            name = f"{self.library}_{name}"
        symbol, number = f"gpw_{name}", 2
        while symbol in self._given:
            symbol, number = f"gpw_{name}_{number}", number + 1
        self._given.add(symbol)
        self._known[parts] = symbol
        return symbol

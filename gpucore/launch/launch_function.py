"""The text of launch functions: Python written for one kernel and one combination of argument types.

A launch function checks that its arguments are of the types that it was made for, converts scalars, records which
streams use the memory, and makes the one call that the backend prepared for the launch shape. The shape itself is data:
``configured._prepared`` (or ``_prepared_on_stream``) holds what was prepared for it, in a tuple that is replaced as a
whole, so that a thread never sees half of it::

    (launcher, enqueue, [chosen,] arguments of the last launch..., ready)

``enqueue`` is the backend's call, None until the first launch of the shape. Where extents, scalars or the shape decide what
a kernel has to check, ``chosen`` says for which of them it was chosen. A launch that is ``repeated``, with the very objects of
the last one, needs no check of types, no conversion, no choice between programs: it uses ``ready``, which has the packed
arguments of the chosen call. The third of such launches packs it (``configured._repeated`` says that there was a second), so
that shapes that come twice cost no memory. An array's
``_packed`` is one tuple for its life, and the tuple above keeps what it compares with, so no other object can have its identity.

Names are the user's, as far as they leave the names of this module alone. The text is in :mod:`linecache`, where tracebacks
and debuggers find it; ``GPUCORE_DUMP=launch`` prints it.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from gpucore._generated import compile_functions, fill_template
from gpucore.errors import USER_ERRORS, DeviceLostError
from gpucore.ir.bounds.polynomials import HostTerm
from gpucore.ir.dtypes import as_dtype
from gpucore.ir.records import RecordType, array_name
from gpucore.lang.types import MISSING as ABSENT
from gpucore.lang.types import REQUIRED, ConstValue, ScalarType, float_rule
from gpucore.launch.arguments import RecordConverter, converter, pack_half, same_value, scalar_class
from gpucore.launch.calls import (
    CALL,
    CHECKS,
    CHOOSE,
    CHOOSE_CHECKED,
    CONVERT,
    ENQUEUE,
    ENQUEUE_OBSERVED,
    ENQUEUE_UNBOUND,
    FIXED_NAMES,
    KNOWN,
    MATCHES,
    STREAM_CHECK,
    Arguments,
    ArrayNames,
    Names,
)

if TYPE_CHECKING:
    from gpucore.compile.pipeline import Param

__all__ = ["MISSING", "Arguments", "LaunchText", "Mode", "compile_text"]

MISSING = object()
"""Stands for an argument that was not given."""

Mode = Literal["call", "known", "pack", "matches"]
"""``call``: checks types, as users call it. ``known``: the types were looked up just now. ``pack``: gives the call and the packed
arguments instead of calling, for bound launches. ``matches``: whether the arguments are of the types.
"""


class LaunchText:
    """Writes the launch functions of one combination of argument types.

    Parameters
    ----------
    arguments : Arguments
    params : Sequence[Param] or None
        Of the compiled kernel; None for launches of size zero, which check their arguments and do nothing.
    given_stream : bool
        Whether the launch names its stream; else it runs on the context's default stream.
    recorded : bool
        Whether programs have an error record, which goes with the stream.
    binds : bool
        Whether the backend's calls can pack arguments ahead.
    objects : bool
        Whether they are objects: then the text calls their method, which Python is quicker to do.
    reads : Sequence[HostTerm], optional
        The extents and scalars that decide what the kernel has to check; without it nothing does.
    """

    def __init__(
        self,
        arguments: Arguments,
        params: Sequence[Param] | None,
        *,
        given_stream: bool,
        recorded: bool,
        binds: bool,
        objects: bool,
        reads: Sequence[HostTerm] | None = None,
    ) -> None:
        self._arguments = arguments
        self._reads = reads
        self._read_names: dict[HostTerm, str] = {}
        self._given_stream = given_stream
        self._recorded = recorded
        self._binds = binds
        self._call = "call.__call__" if objects else "call"
        self._names = Names(FIXED_NAMES)
        self.values: dict[str, Any] = {
            "MISSING": MISSING, "DEVICE_LOST": DeviceLostError, "USER_ERRORS": USER_ERRORS, "SAME_VALUE": same_value,
            "SCALAR_CLASS": scalar_class,
        }  # fmt: skip
        self._parameters = [self._names.new(parameter.name) for parameter in arguments.parameters]
        self._arrays = self._name_arrays()
        self._types = self._type_checks()
        self._captured = self._captured_checks()
        self._packed_as: dict[str, str] = {}  # halves: how their rounded form is packed
        self._record_parts: dict[str, str] = {}  # by the compiled kernel's parameter: a scalar of a record
        self._convert = self._convert_scalars(params)
        self._memory = self._memory_lines()
        self._params = params
        self._last: dict[str, str] = {}  # what is compared with the last launch, and its name there
        self._unpack: list[str] = []
        self._packed: list[str] = []
        self._packed_arguments: list[str] = []
        if params is not None:
            self._pack(params)

    # --- names
    def _name_arrays(self) -> dict[str, ArrayNames]:
        arrays: dict[str, ArrayNames] = {}
        for parameter, name, signature in zip(
            self._arguments.parameters, self._parameters, self._arguments.signatures, strict=True
        ):
            if signature is not None:
                new = self._names.new
                arrays[parameter.name] = ArrayNames(
                    signature, parameter.name, name, new(f"{name}_block"), new(f"{name}_packed")
                )  # fmt: skip
        return arrays

    def _value(self, name: str, value: Any) -> str:
        """A global name for a value of the launch function."""
        name = self._names.new(name)
        self.values[name] = value
        return name

    # --- 1. is this the combination of types that the function was made for?
    @property
    def _stream_check(self) -> list[str]:
        if not self._given_stream:
            return []
        if any(self._arguments.signatures):
            return ["stream._state is STATE"]
        # no array says how the launch is checked
        self.values["OPTIONS"] = self._arguments.options
        return ["stream._state is STATE", "stream._options is OPTIONS"]

    def _type_checks(self) -> dict[str, str]:
        """The check of each argument by its name; a scalar with an annotation needs none, it is converted."""
        checks = {}
        given = self._arguments
        for name, parameter, argument, signature in zip(
            self._parameters, given.parameters, given.types, given.signatures, strict=True
        ):
            if signature is not None:
                checks[name] = f"{name}._sig is {self._value(f'{name}_signature', signature)}"
            elif isinstance(argument, ConstValue):
                checks[name] = self._constant_check(name, argument.value)
            elif parameter.dtype is None:
                assert isinstance(argument, ScalarType)
                checks[name] = self._scalar_check(name, argument)
        return checks

    def _repeated(self) -> list[str]:
        """That nothing that matters differs from the last launch: the same objects are of the same types."""
        types = zip(self._parameters, self._arguments.types, strict=True)
        if any(isinstance(type_, ScalarType) and name not in self._last for name, type_ in types):
            return ["False"]  # nothing is remembered of a scalar that is not packed as it was given
        packed = {array.name: array.packed for array in self._arrays.values()}
        # a number that changed is found before arrays are looked at
        same = sorted(self._last.items(), key=lambda pair: pair[0] in packed.values())
        others = [check for name, check in self._types.items() if packed.get(name, name) not in self._last]
        return [*(f"{now} is {last}" for now, last in same), *others, *self._stream_check, *self._captured]

    def _all_given(self) -> list[str]:
        """That no argument is missing: where one by position is, the last one is."""
        required = [
            (name, parameter.keyword_only)
            for name, parameter in zip(self._parameters, self._arguments.parameters, strict=True)
            if parameter.default is REQUIRED
        ]
        last = [name for name, by_name in required if not by_name][-1:]
        return [
            f"{name} is not MISSING" for name in (*last, *(name for name, by_name in required if by_name))
        ]

    def _default_lines(self) -> list[str]:
        """Arguments that were left out; one that is given by name is found among ``named`` later."""
        lines: list[str] = []
        for name, parameter in zip(self._parameters, self._arguments.parameters, strict=True):
            if parameter.default is not REQUIRED:
                default = self._value(f"{name}_default", parameter.default)
                lines += [f"if {name} is MISSING and not named:", f"    {name} = {default}"]
        return lines

    def _constant_check(self, name: str, value: Any) -> str:
        then = self._value(f"{name}_constant", value)
        if type(value) in (int, bool, str):
            return f"{name}.__class__ is {type(value).__name__} and {name} == {then}"
        return f"({name} is {then} or SAME_VALUE({name}, {then}))"

    def _scalar_check(self, name: str, argument: ScalarType) -> str:
        """For a parameter without an annotation: the Python class and the range that chose its dtype."""
        default = float_rule(self._arguments.parameters, self._arguments.types).default
        self.values["DEFAULT_FLOAT"] = default
        general = f"SCALAR_CLASS({name}, '', DEFAULT_FLOAT) is {self._value(f'{name}_dtype', argument.dtype)}"
        if argument.dtype is default:
            return f"({name}.__class__ is float or {general})"
        if argument.dtype.name == "i32":
            return f"({name}.__class__ is int and -2147483648 <= {name} <= 2147483647 or {general})"
        return general

    def _captured_checks(self) -> list[str]:
        """Captured constants are looked at where they live; one that is another object is compared in full."""
        checks: list[str] = []
        seen: set[tuple[int, str]] = set()
        homes: dict[int, str] = {}
        for holder, name, value in self._arguments.constants:
            if (id(holder), name) in seen:
                continue
            seen.add((id(holder), name))
            is_scope = isinstance(holder, dict)
            if id(holder) not in homes:
                homes[id(holder)] = self._value("GLOBALS" if is_scope else "HOLDER", holder)
            if value is ABSENT:
                checks.append(f"{name!r} not in {homes[id(holder)]}")
                continue
            now = f"{homes[id(holder)]}[{name!r}]" if is_scope else f"{homes[id(holder)]}.{name}"
            then = self._value(f"captured_{name}", value)
            checks.append(f"({now} is {then} or SAME_VALUE({now}, {then}))")
        return checks

    # --- 2. scalars
    def _convert_scalars(self, params: Sequence[Param] | None) -> list[str]:
        """The lines that convert the scalar parameters."""
        compiled = {param.name: param for param in params or ()}
        lines: list[str] = []
        for name, parameter, argument in zip(
            self._parameters, self._arguments.parameters, self._arguments.types, strict=True
        ):
            if not isinstance(argument, ScalarType):
                continue
            dtype = argument.dtype
            if isinstance(dtype, RecordType):
                lines += self._convert_record(name, parameter.name, dtype, compiled)
                continue
            convert = converter(dtype, f"{self._arguments.kernel}: the argument {parameter.name!r}")
            plain = {"float": "float", "int": "int", "uint": "int", "bool": "bool"}[dtype.kind]
            test = f"{name}.__class__ is not {plain}"
            if convert.low is not None:
                test += f" or not {convert.low!r} <= {name} <= {convert.high!r}"
            lines += [f"if {test}:", f"    {name} = {self._value(f'{name}_convert', convert)}({name})"]
            lowered = compiled.get(parameter.name)
            if lowered is not None and dtype.name in ("f16", "bf16"):
                rounded = f"{self._value(f'{name}_round', pack_half(dtype, lowered.dtype))}({name})"
                self._packed_as[parameter.name] = rounded
        return lines

    def _convert_record(
        self, name: str, parameter: str, record: RecordType, compiled: dict[str, Param]
    ) -> list[str]:
        """The lines that take a record apart; each of its scalars is a parameter of the compiled kernel."""
        convert = RecordConverter(record, f"{self._arguments.kernel}: the argument {parameter!r}")
        parts: list[str] = []
        rounding: list[str] = []
        for leaf in record.leaves:
            part = self._names.new("_".join((name, *leaf.path)))
            full = ".".join((parameter, *leaf.path))
            parts.append(part)
            self._record_parts[full] = part
            lowered = compiled.get(full)
            if lowered is not None and leaf.dtype.name in ("f16", "bf16"):
                rounding.append(
                    f"{part} = {self._value(f'{part}_round', pack_half(leaf.dtype, lowered.dtype))}({part})"
                )
        return [f"{', '.join(parts)}, = {self._value(f'{name}_convert', convert)}({name})", *rounding]

    # --- 3. memory: liveness, streams
    def _memory_lines(self) -> list[str]:
        stream, timeline = ("stream", "stream._timeline") if self._given_stream else ("STREAM", "TIMELINE")
        lines: list[str] = []
        for array in self._arrays.values():
            who = f"{self._arguments.kernel}: the array {array.parameter!r}"
            lines += [
                f"{array.block} = {array.name}._block",
                f"if {array.block}.home is not {timeline}:",
                f"    RECORD_USE({array.block}, {stream}, {who!r})",
            ]
        return lines

    def _overlap_test(self) -> str:
        """Whether two arrays may share memory, one of which the kernel writes; empty where that cannot be."""
        tests: list[str] = []
        for a, b in itertools.combinations(self._arrays.values(), 2):
            if a.parameter in self._arguments.written or b.parameter in self._arguments.written:
                test = f"OVERLAP({a.name}, {b.name})"
                outside = a.signature.outside or b.signature.outside
                tests.append(test if outside else f"{a.block} is {b.block} and {test}")
        return " or ".join(tests)

    # --- 4. the packed arguments, in the order of the compiled kernel's parameters
    def _pack(self, params: Sequence[Param]) -> None:
        names = {p.name: name for p, name in zip(self._arguments.parameters, self._parameters, strict=True)}
        names |= self._record_parts
        views: dict[str, list[str]] = {}
        extents: list[str] = []
        for param in params:
            if param.name in ("$error", "$print"):
                continue  # they come with the stream
            if param.name.startswith("$extent"):
                extents.append(self._names.new(f"range_extent{param.name.removeprefix('$extent')}"))
            elif param.rank and isinstance(
                record := self._arrays[array_name(param.name)].signature.dtype, RecordType
            ):
                # a memory of an array of records has one axis more, of so many scalars of its dtype
                array = self._arrays[array_name(param.name)]
                if array.parameter not in views:
                    views[array.parameter] = self._unpack_array(array)
                size = as_dtype(param.name.rpartition(".")[2]).itemsize
                view = _record_view(views[array.parameter], array.signature.rank, record.itemsize // size)
                self._note_extents(param.name, view[: 3 + array.signature.rank])
                self._packed_arguments += view
            elif param.rank:
                array = self._arrays[param.name]
                parts = self._unpack_array(array)
                self._note_extents(param.name, parts[: 2 + array.signature.rank])
                self._packed_arguments += parts
            else:
                name = names[param.name]
                self._read_names[HostTerm("scalar", param.name)] = name
                self._last[name] = self._names.new(f"{name}_last")
                self._packed_arguments.append(self._packed_as.get(param.name, name))
        if extents:
            self._unpack.append(f"{', '.join(extents)}, = configured.shape")
        self._packed_arguments += extents

    def _note_extents(self, memory: str, parts: list[str]) -> None:
        """What conditions on the extents of an array read."""
        for axis, name in enumerate(parts[2:]):
            self._read_names[HostTerm("extent", memory, axis)] = name

    def _unpack_array(self, array: ArrayNames) -> list[str]:
        """The names of an array's packed parts."""
        new, axes = self._names.new, range(array.signature.rank)
        parts = [
            new(f"{array.name}_allocation"), new(f"{array.name}_offset"),
            *(new(f"{array.name}_extent{axis}") for axis in axes),
        ]  # fmt: skip
        if not array.signature.contiguous:
            parts += [*(new(f"{array.name}_stride{axis}") for axis in axes), new(f"{array.name}_below")]
        self._packed.append(f"{array.packed} = {array.name}._packed")
        self._unpack.append(f"{', '.join(parts)} = {array.packed}")
        self._last[array.packed] = new(f"{array.name}_last")
        return parts

    # --- the functions
    @property
    def fields(self) -> int:
        """How many arguments the prepared tuple compares with."""
        return len(self._last)

    def write(self, mode: Mode, *, observed: bool = False) -> str:
        """The text of one launch function; one that is ``observed`` hands the packed launch over instead of making it."""
        given = self._given_stream
        types = [*self._stream_check, *self._types.values(), *self._captured]
        if mode == "matches":
            return fill_template(
                MATCHES,
                head=", ".join([*(["stream"] if given else []), *self._parameters]),
                known="\nand ".join(types or ["True"]),
            )
        known = ["launcher is LAUNCHER", *self._all_given(), *types, "not more", "not named"]
        repeated = [*self._repeated(), "launcher is LAUNCHER", "not more", "not named"]
        if mode != "call":
            repeated = self._repeated() or ["enqueue is not None"]
        prepared = f"configured.{'_prepared_on_stream' if given else '_prepared'}"
        first = "stream_launch" if given else "configured"
        if mode != "call":
            first = "configured, prepared, stream" if given else "configured, prepared"
        positional, keywords = list(self._parameters), ["*more"]
        if mode == "call":
            by_name = [parameter.keyword_only for parameter in self._arguments.parameters]
            positional = [
                f"{name}=MISSING" for name, named in zip(self._parameters, by_name, strict=True) if not named
            ]
            keywords += [
                f"{name}=MISSING" for name, named in zip(self._parameters, by_name, strict=True) if named
            ]
        stream = "configured, stream = stream_launch._base, stream_launch._stream"
        last = ["launcher", "enqueue", *self._chosen(), *self._last.values(), "ready"]
        body = CHECKS + (STREAM_CHECK if given else "")
        if self._convert:
            body += fill_template(CONVERT, convert="\n".join(self._convert))
        body += "".join(f"{line}\n" for line in self._memory)
        if observed:
            body = f"given = ({self._tuple(self._parameters)})\n" + body
        body += self._pack_text() if mode == "pack" else self._enqueue_text(prepared, observed)
        return fill_template(
            CALL if mode == "call" else KNOWN,
            head=", ".join([first, *positional]),
            keywords=", ".join(keywords),
            defaults="\n".join(self._default_lines()),
            stream=stream if given else "",
            last=", ".join(last),
            prepared=prepared,
            load="\n".join(self._packed),
            repeated="\nand ".join(repeated),
            known="\nand ".join(known),
            owner="stream_launch" if given else "configured",
            names="".join(f"{name}, " for name in self._parameters).rstrip(" "),
            body=body,
        )

    def _choose(self) -> str:
        overlap = self._overlap_test()
        overlapping = f"OVERLAPPING({', '.join(['configured', *self._chosen()])})"
        call = f"{overlapping} if {overlap} else enqueue" if overlap else "enqueue"
        if self._reads is None:
            return fill_template(CHOOSE, call=call)
        reads = self._tuple(self._read_names[term] for term in self._reads)
        return fill_template(CHOOSE_CHECKED, call=call, reads=reads)

    def _chosen(self) -> list[str]:
        """What is remembered of the choice of a kernel."""
        return [] if self._reads is None else ["chosen"]

    def _target(self) -> str:
        if self._recorded:
            return "stream" if self._given_stream else "STREAM"
        return "stream._handle" if self._given_stream else "STREAM_HANDLE"

    @staticmethod
    def _tuple(names: Iterable[str]) -> str:
        """What stands between the parentheses of a tuple."""
        return "".join(f"{name}, " for name in names).rstrip(" ")

    def _enqueue_text(self, prepared: str, observed: bool) -> str:
        if self._params is None:
            return "return\n"
        template = ENQUEUE_OBSERVED if observed else ENQUEUE if self._binds else ENQUEUE_UNBOUND
        return fill_template(
            template.replace("{kernel!r}", repr(self._arguments.kernel)),
            tuple=self._tuple(self._packed_arguments),
            stream="stream" if self._given_stream else "STREAM",
            unpack="\n".join(self._unpack),
            choose=self._choose(),
            call=self._call,
            arguments=", ".join(self._packed_arguments),
            prepared=prepared,
            fields=", ".join(["LAUNCHER", "enqueue", *self._chosen(), *self._last]),
            target=self._target(),
        )

    def _pack_text(self) -> str:
        if self._params is None:
            return "return None, ()\n"
        lines = [*self._unpack, self._choose().rstrip("\n")]
        lines.append(f"return call, ({''.join(f'{argument}, ' for argument in self._packed_arguments)})")
        return "\n".join(lines) + "\n"


def _record_view(parts: list[str], rank: int, count: int) -> list[str]:
    """The packed parts of a memory of an array of records, of ``count`` scalars each: an axis more, of stride one."""
    shape, strides = parts[: 2 + rank], parts[2 + rank :]
    if not strides:
        return [*shape, str(count)]
    *steps, below = (f"{stride} * {count}" for stride in strides)
    return [*shape, str(count), *steps, "1", below]


def compile_text(text: str, values: dict[str, Any], what: str, *, dump: bool) -> Callable[..., Any]:
    """The function ``launch`` of a text.

    Parameters
    ----------
    values : dict
        The global names of the text.
    what : str
        Names the text, in tracebacks too.
    dump : bool
        Write the text to ``sys.stderr`` as well.
    """
    if dump:
        sys.stderr.write(f"# launch of {what}\n{text}\n")
    return compile_functions(text, values, f"launch of {what}")["launch"]

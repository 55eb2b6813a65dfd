"""``gpucore info``, ``doctor`` and ``cache``: what is installed, what works, how devices exchange data, and what to do."""

from __future__ import annotations

import importlib
import importlib.metadata
import itertools
import json
import os
import platform
import re
import sys
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

import gpucore
from gpucore.backends import discovery
from gpucore.cli.app import ELSEWHERE, terminal
from gpucore.config import keys, load, plugin_keys, plugin_setting
from gpucore.errors import GpucoreError, NotSupportedError
from gpucore.hookspecs import API_VERSION, IR_VERSION
from gpucore.runtime import peer

_WIDE = 132
"""Columns that the whole table of devices takes."""


def _emit(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2, default=str))


def _choice() -> dict[str, Any]:
    """What ``Context()`` opens now, or the reason why it cannot."""
    try:
        with gpucore.Context() as ctx:
            device = ctx.device
            return {
                "backend": ctx.backend,
                "device": device.name,
                "uuid": device.uuid,
                "loop_limit": device.capabilities.loop_limit,
                "why": ctx.why,
                "passed_over": list(ctx.passed_over),
                "error": None,
            }
    except GpucoreError as error:
        return {
            "backend": None, "device": None, "uuid": None, "loop_limit": None, "why": "", "passed_over": [],
            "error": str(error),
        }  # fmt: skip


def _reasons(document: dict[str, Any]) -> list[str]:
    """Why this backend was chosen and no other."""
    chosen = document["selected"]
    unavailable = tuple(f"{b['name']}:" for b in document["backends"] if not b["available"])
    lines = [f"why: {chosen['why']}"]
    lines += [
        f"passed over: {reason}" for reason in chosen["passed_over"] if not reason.startswith(unavailable)
    ]
    if "priority" in chosen["why"]:
        lines += [
            f"passed over: {b['name']}: its devices are software, which are taken only where nothing else works"
            for b in document["backends"]
            if b["name"] != chosen["backend"]
            and b["devices"]
            and all(d["kind"] == "software" for d in b["devices"])
        ]
    return lines


def _loops(limit: int | None) -> str:
    """What a device's limit on loops means, for the end of a line; nothing where it has none."""
    return (
        ""
        if limit is None
        else f"; its driver ends loops after {limit:,} iterations a thread, where kernels raise an error"
    )


def _backends() -> list[dict[str, Any]]:
    return [
        {
            "name": status.name,
            "available": status.available,
            "reason": status.reason,
            "fix": status.fix,
            "devices": [
                {
                    "ordinal": d.ordinal,
                    "name": d.name,
                    "uuid": d.uuid,
                    "kind": d.kind,
                    "driver": getattr(d, "driver", ""),
                }
                for d in status.devices
            ],
        }
        for status in gpucore.backends().values()
    ]


def _settings() -> dict[str, dict[str, str]]:
    """Every setting, its value, and where it comes from."""
    try:
        settings = load()
    except GpucoreError:
        return {}  # the choice says what is wrong
    ignored = dict(settings.ignored)
    plugins = dict(settings.plugins)
    of_plugins = {}
    for key in (*plugin_keys(), *(key for key in plugins if key not in plugin_keys())):
        value, origin = plugin_setting(key, settings)
        of_plugins[key] = {"value": _shown(value), "origin": origin or "default"}
    return {
        key: {
            "value": _shown(getattr(settings, key)),
            "origin": settings.source_of(key) or "default",
            **({"ignored": ignored[key]} if key in ignored else {}),
        }
        for key in keys()
    } | of_plugins


def _shown(value: object) -> str:
    """A setting's value as one would write it."""
    if isinstance(value, tuple):
        return ",".join(value) or "none"
    return "not set" if value is None else str(value)


def _cache_problem() -> str | None:
    """Why compiled kernels are not kept on disk though they should be."""
    try:
        problem: str | None = gpucore.cache.current().problem()
    except GpucoreError:
        return None  # the choice says what is wrong
    return problem


def _document() -> dict[str, Any]:
    return {
        "gpucore": gpucore.__version__,
        "api_version": API_VERSION,
        "ir_version": IR_VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "environment": {
            name: value for name, value in sorted(os.environ.items()) if name.startswith("GPUCORE_")
        },
        "cache": gpucore.cache.stats(),
        "cache_problem": _cache_problem(),
        "backends": _backends(),
        "pairs": found_pairs(),
        "same_cards": same_cards(),
        "not_installed": {
            name: fix for name, fix in discovery.not_installed().items() if name not in ELSEWHERE.values()
        },
        "selected": _choice(),
        "settings": _settings(),  # after the backends, which say what settings they have
    }


def show_info(as_json: bool) -> None:
    """Print versions, backends, devices, and the choice."""
    document = _document()
    if as_json:
        _emit(document)
        return
    console = terminal()
    console.print(
        f"[bold]gpucore {document['gpucore']}[/]  API {API_VERSION}, IR {IR_VERSION}, "
        f"Python {document['python']} on {document['platform']}",
        highlight=False,
    )
    _devices(console, document["backends"])
    for backend in document["backends"]:
        if not backend["available"]:
            _line(console, f"{backend['name']} is unavailable: {backend['reason']}")
    for line in pair_lines(document["pairs"], document["same_cards"]):
        _line(console, line)
    chosen = document["selected"]
    if chosen["error"]:
        console.print(f"[red]nothing can be opened:[/] {chosen['error']}", highlight=False, soft_wrap=True)
    else:
        console.print(
            f"selected: [green]{chosen['backend']}[/], {chosen['device']}{_loops(chosen['loop_limit'])}",
            highlight=False,
        )
        for line in _reasons(document):
            _line(console, f"  {line}")
    _settings_lines(console, document["environment"], document["settings"])
    if document["cache_problem"]:
        _line(console, f"the cache is not used: {document['cache_problem']}")


def _devices(console: Console, backends: list[dict[str, Any]]) -> None:
    """The table of devices; in a narrow window their uuids and drivers, which selectors take whole, stand below it."""
    narrow = console.width < _WIDE
    table = Table()
    for column in ("backend", "device", "name", "kind", *(() if narrow else ("uuid", "driver"))):
        table.add_column(column, no_wrap=column == "uuid")
    below = []
    for backend in backends:
        for d in backend["devices"]:
            selector = f"{backend['name']}:{d['ordinal']}"
            more = (d["uuid"] or "", d["driver"])
            table.add_row(backend["name"], selector, d["name"], d["kind"], *(() if narrow else more))
            below.append(f"{selector}  " + "  ".join(part for part in more if part))
        if not backend["available"]:
            table.add_row(backend["name"], "[red]unavailable[/]")
    console.print(table)
    for line in below if narrow else ():
        _line(console, line)


def _settings_lines(
    console: Console, environment: dict[str, str], settings: dict[str, dict[str, str]]
) -> None:
    """Each value once, with where it comes from: the variable that sets it, a file, or the default."""
    for name, value in environment.items():
        _line(console, f"{name}={value}")
    for key, setting in settings.items():
        if not any(setting["origin"].endswith(f" {name}") for name in environment):
            _line(console, f"{key} = {setting['value']}  ({setting['origin']})")
        if "ignored" in setting:
            _line(console, f"  not taken: {setting['ignored']}")


def _line(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def show_doctor(as_json: bool) -> bool:
    """Print a diagnosis; True when a context can be opened and gives right results."""
    document = _document()
    for backend in document["backends"]:
        backend["checks"] = [_try(f"{backend['name']}:{d['ordinal']}") for d in backend["devices"]]
    healthy = document["selected"]["error"] is None and all(
        check["ok"] for backend in document["backends"] for check in backend["checks"]
    )
    document["healthy"] = healthy
    if as_json:
        _emit(document)
        return healthy
    console = terminal()
    for backend in document["backends"]:
        mark = "[green]available[/]" if backend["available"] else "[red]unavailable[/]"
        console.print(f"[bold]{backend['name']}[/]  {mark}", highlight=False)
        if backend["reason"]:
            console.print(f"  why  {backend['reason']}", highlight=False)
        if backend["fix"]:
            console.print(f"  fix  {backend['fix']}", highlight=False)
        for device, check in zip(backend["devices"], backend["checks"], strict=True):
            state = "[green]works[/]" if check["ok"] else f"[red]fails[/]: {check['error']}"
            strict = (
                ""
                if check.get("strict", True)
                else f"; strict arithmetic unavailable: {check['strict_missing']}"
            )
            console.print(
                f"  device {device['ordinal']}  {device['name']} ({device['kind']}): {state}{strict}"
                f"{_loops(check.get('loop_limit'))}",
                highlight=False,
            )
    for name, fix in document["not_installed"].items():
        console.print(f"[bold]{name}[/]  not installed", highlight=False)
        console.print(f"  fix  {fix}", highlight=False, markup=False)
    if document["cache_problem"]:
        console.print(
            "[bold]cache[/]  [red]not used[/]: each process compiles its kernels anew", highlight=False
        )
        console.print(f"  why  {document['cache_problem']}", highlight=False, markup=False)
        console.print(
            "  fix  set GPUCORE_CACHE_DIR to a folder that is yours alone, or to 'off'", highlight=False
        )
    if not document["backends"]:
        console.print(
            "no backend is installed; install one with: pip install 'gpucore[cpu]'", highlight=False
        )
    chosen = document["selected"]
    if chosen["error"]:
        console.print(f"[red]Context() fails:[/] {chosen['error']}", highlight=False)
    else:
        console.print(f"Context() opens [green]{chosen['backend']}[/], {chosen['device']}", highlight=False)
    return healthy


def _try(selector: str) -> dict[str, Any]:
    """Open a device and run one kernel on it, comparing with NumPy."""

    try:
        with gpucore.Context(selector) as ctx:
            strict = "strict" in ctx.device.capabilities
            missing = getattr(ctx.device.capabilities, "strict_missing", "")
            limit = ctx.device.capabilities.loop_limit
            wrong = _saxpy_error(ctx)
            memory = ctx.device.memory_info()
            try:
                held: int | None = ctx.device.process_memory()
            except NotSupportedError:
                held = None
    except GpucoreError as error:
        return {"selector": selector, "ok": False, "error": str(error)}
    return {
        "selector": selector,
        "ok": wrong is None,
        "error": wrong,
        "strict": strict,
        "strict_missing": missing,
        "loop_limit": limit,
        "memory_free": memory.free,
        "memory_total": memory.total,
        "process_memory": held,
    }


def show_cache(as_json: bool) -> None:
    """Print the cache's counters and path."""
    stats = gpucore.cache.stats()
    if as_json:
        _emit(dict(stats))
        return
    for name in ("entries", "bytes"):  # hits and misses are those of a process, and this one compiles nothing
        click.echo(f"{name:>10}  {stats[name]:,}")
    directory = gpucore.cache.current().directory
    click.echo(f"{'directory':>10}  {directory if directory is not None else 'none: in memory only'}")


_ARRAY = re.compile(r"^(?P<dtype>\w+)\[(?P<shape>[\d,\s]*)\]$")
_SCALAR = re.compile(r"^(?P<dtype>\w+)=(?P<value>\S+)$")


def explain_cache(kernel: str, arguments: tuple[str, ...]) -> None:
    """Print why the next launch of ``module:name`` hits or misses."""
    module_name, _, attribute = kernel.partition(":")
    if not attribute:
        raise click.ClickException(
            f"name the kernel as module:name, such as mypackage.kernels:saxpy; got {kernel!r}"
        )
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise click.ClickException(f"{module_name} cannot be imported: {error}") from error
    except AttributeError:
        raise click.ClickException(f"{module_name} has no {attribute}") from None
    if not isinstance(found, gpucore.Kernel):
        raise click.ClickException(
            f"{kernel} is a {type(found).__name__}, not a kernel made with @gpucore.kernel"
        )
    with gpucore.Context() as ctx:
        values = [_argument(ctx, text) for text in arguments]
        click.echo(gpucore.cache.explain(found, *values))


def _argument(ctx: gpucore.Context, text: str) -> Any:
    from gpucore.ir.dtypes import dtype

    for pattern in (_ARRAY, _SCALAR):
        match = pattern.match(text)
        if match is None:
            continue
        try:
            kind = dtype(match["dtype"])
        except KeyError:
            raise click.ClickException(
                f"{match['dtype']!r} in {text!r} is no dtype; use f32, i32, ..."
            ) from None
        if pattern is _SCALAR:
            return float(match["value"]) if kind.is_float else int(match["value"])
        return ctx.empty(tuple(int(n) for n in match["shape"].split(",") if n.strip()), kind)
    raise click.ClickException(f"{text!r} is no argument; write f32[1000] for an array or i32=3 for a scalar")


def found_pairs() -> list[dict[str, Any]]:
    """The pairs of devices of each backend that has several, and what trying them found: None before they are tried."""
    try:
        settings = load()
    except GpucoreError:
        return []  # the choice says what is wrong
    pairs: list[dict[str, Any]] = []
    for a, b in itertools.combinations(gpucore.devices(), 2):
        if a.backend != b.backend:
            continue
        versions = discovery.bind(a.backend, discovery.load(a.backend)).backend_info().versions
        found = peer.known(a, b, versions, settings)
        pairs.append({
            "devices": [f"{d.backend}:{d.ordinal}" for d in (a, b)],
            "access": None if found is None else found.kind,
            "reason": "" if found is None else found.reason,
        })  # fmt: skip
    return pairs


def same_cards() -> list[list[str]]:
    """The devices of several backends that are one card: they have one UUID."""
    cards: dict[str, list[str]] = {}
    for device in gpucore.devices():
        if device.uuid:
            cards.setdefault(device.uuid, []).append(f"{device.backend}:{device.ordinal}")
    return [selectors for selectors in cards.values() if len(selectors) > 1]


def pair_lines(pairs: list[dict[str, Any]], cards: list[list[str]]) -> list[str]:
    """The same for readers; pairs that were not tried are counted."""
    lines = [f"{' and '.join(selectors)} are one card" for selectors in cards]
    untried: dict[str, list[list[str]]] = {}
    for pair in pairs:
        a, b = pair["devices"]
        if pair["access"] is None:
            untried.setdefault(a.partition(":")[0], []).append([a, b])
        elif pair["access"] == "direct":
            lines.append(f"{a} and {b}: copies are direct")
        else:
            lines.append(f"{a} and {b}: copies go through the host, because {pair['reason']}")
    for some in untried.values():
        a, b = some[0]
        how_many = "not tried yet" if len(some) == 1 else f"not tried yet, as {len(some) - 1} other pairs"
        lines.append(f"{a} and {b}: {how_many}; gpucore.peer_access({a!r}, {b!r}) tries copies between them")
    return lines


@gpucore.kernel
def _saxpy(x: gpucore.Array[gpucore.f32], y: gpucore.Array[gpucore.f32], a: gpucore.f32):  # type: ignore[no-untyped-def]
    i = gpucore.global_id(0)
    if i < y.shape[0]:
        y[i] = a * x[i] + y[i]


def _saxpy_error(ctx: gpucore.Context) -> str | None:
    """Run saxpy on the context and compare with NumPy bit for bit; None when equal, else what differs."""
    n = 1000
    x, y = np.arange(n, dtype=np.float32) / np.float32(3), np.ones(n, np.float32)
    device = ctx.array(y)
    _saxpy[gpucore.cdiv(n, 256), 256](ctx.array(x), device, 1.1)
    expected = np.float32(1.1) * x + y
    found = device.numpy()
    wrong = np.flatnonzero(found != expected)
    if wrong.size == 0:
        return None
    k = int(wrong[0])
    return (
        f"saxpy gives {found[k]} for element {k}, NumPy {expected[k]} ({wrong.size} of {n} elements differ)"
    )

"""Write ``docs/conformance.md`` from the committed reports: ``python benchmarks/conformance_table.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gpucore.testing.semantics import parts as later_parts

DOCS = Path(__file__).parents[1] / "docs"
TITLES = {
    "cpu": "CPU",
    "aarch64": "CPU, AArch64 under QEMU",
    "lavapipe": "Vulkan, lavapipe",
    "h200-vulkan": "Vulkan, H200",
    "h200-cuda": "CUDA, H200",
}


def load() -> dict[str, dict[str, Any]]:
    """The reports by short name."""
    found = {}
    for name in TITLES:
        path = DOCS / "measured" / f"conformance-{name}.json"
        if path.is_file():
            found[name] = json.loads(path.read_text("utf-8"))
    return found


def groups(report: dict[str, Any]) -> dict[str, list[int]]:
    """Counts of passed, refused, failed by group."""
    result: dict[str, list[int]] = {}
    order = ("passed", "refused", "failed")
    for name, verdict in report["hooks"].items():
        result.setdefault(f"hooks: {name.split('.')[0]}", [0, 0, 0])[order.index(verdict["outcome"])] += 1
    for key, counts in (report["semantics"] or {"groups": {}})["groups"].items():
        family = key.split(".")[0].split("_")[0]
        kind = {
            "atomic": "atomics",
            "subgroup": "subgroups",
            "cast": "conversions",
            "bitcast": "conversions",
        }.get(family)
        cell = result.setdefault(f"semantics: {kind or _kind(family)}", [0, 0, 0])
        for k, field in enumerate(order):
            cell[k] += counts[field]
    return result


def _kind(family: str) -> str:
    if family in ("eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "select"):
        return "comparisons"
    if family in ("and", "or", "xor", "not", "shl", "shr", "popcount", "clz"):
        return "bits"
    if family in (
        "add",
        "sub",
        "mul",
        "div",
        "floordiv",
        "mod",
        "pow",
        "fma",
        "min",
        "max",
        "abs",
        "neg",
        "sqrt",
    ):
        return "arithmetic"
    return "rounding" if family in ("floor", "ceil", "trunc", "round") else "math functions"


def parts(reports: dict[str, dict[str, Any]]) -> list[str]:
    """What came to the table of operations later, part by part: a device that has not run a part yet is said to be so."""
    names = list(later_parts())
    lines = [
        "## Parts of the table that came later",
        "",
        "Each part has counts and a digest of its own, so that the figures above stay comparable. `pairs`: the result of each",
        "operation goes to each kind of consumer that sees more than its dtype has, before it is stored. `random`: the",
        "generators of `gpucore.random`. Every cell: passed / refused / failed, and the digest.",
        "",
        "| part | " + " | ".join(TITLES[n] for n in reports) + " | |",
        "|---|" + "---|" * len(reports) + "---|",
    ]
    for part in names:
        cells, digests = [], set()
        for report in reports.values():
            found = ((report["semantics"] or {}).get("parts") or {}).get(part)
            if found is None:
                cells.append("not measured")
                continue
            digests.add(found["portable_digest"])
            counts = " / ".join(f"{found[k]:,}" for k in ("passed", "refused", "failed"))
            cells.append(f"{counts}, `{found['portable_digest'][:16]}`")
        verdict = {0: "", 1: "the same"}.get(len(digests), "NOT the same")
        lines.append(f"| {part} | " + " | ".join(cells) + f" | {verdict} |")
    return [*lines, ""]


def main() -> None:
    reports = load()
    lines = [
        "# Conformance",
        "",
        "Written by `python benchmarks/conformance_table.py` from the reports in `docs/measured`, each made by",
        "`gpucore conformance --report`. Every cell: passed / refused by a capability / failed.",
        "",
        "| group | " + " | ".join(TITLES[n] for n in reports) + " |",
        "|---|" + "---|" * len(reports),
    ]
    tables = {name: groups(report) for name, report in reports.items()}
    every = list(dict.fromkeys(g for table in tables.values() for g in table))
    for group in sorted(every):
        cells = (" / ".join(f"{n:,}" for n in tables[name].get(group, [0, 0, 0])) for name in reports)
        lines.append(f"| {group} | " + " | ".join(cells) + " |")
    totals = {name: [sum(c[k] for c in table.values()) for k in range(3)] for name, table in tables.items()}
    lines.append(
        "| **all** | " + " | ".join(" / ".join(f"{n:,}" for n in totals[name]) for name in reports) + " |"
    )
    lines += [
        "",
        "| | device | driver | gpucore | date | portable results, SHA-256 |",
        "|---|---|---|---|---|---|",
    ]
    for name, report in reports.items():
        digest = (report["semantics"] or {}).get("portable_digest", "")
        lines.append(
            f"| {TITLES[name]} | {report['device']} | {report['driver']} | {report['versions']['gpucore']} "
            f"| {report['date']} | `{digest[:16]}` |"
        )
    same = {(r["semantics"] or {}).get("portable_digest") for r in reports.values()}
    verdict = "the same on every device above" if len(same) == 1 else "NOT the same on every device above"
    lines += [
        "",
        f"The digest over the bits of all portable rows, subgroup operations left out, is {verdict}.",
        "",
        *parts(reports),
    ]
    (DOCS / "conformance.md").write_text("\n".join(lines), "utf-8")


if __name__ == "__main__":
    main()

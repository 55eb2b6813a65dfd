"""Print the table of ``docs/numerics.md`` from a report of ``gpucore_fuzz.ulp``: ``python benchmarks/ulp_table.py``."""

from __future__ import annotations

import json
from pathlib import Path

REPORT = Path(__file__).parents[1] / "docs" / "measured" / "ulp-cpu.json"


def main() -> None:
    found = {(a["function"], a["dtype"]): a for a in json.loads(REPORT.read_text("utf-8"))["accuracy"]}
    kinds = ("f16", "bf16", "f32", "f64")
    print("| function | " + " | ".join(kinds) + " |\n|---|" + "---|" * len(kinds))
    for name in sorted({f for f, _ in found}):
        cells = (f"{found[name, k]['max_ulp']:.2f}" if (name, k) in found else "" for k in kinds)
        print(f"| `{name}` | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

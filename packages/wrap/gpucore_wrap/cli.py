"""The command `gpucore wrap`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gpucore_wrap.errors import Problem, SpecError, VerifyError, WrapError
from gpucore_wrap.verify import LEVELS, Level


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--output", "-o", "folder", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR",
              help="Where the generated project goes.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@click.option("--verify", "level", type=click.Choice(LEVELS), default="spec", show_default=True,
              help="spec: the specification alone. syntax: Python and C++ parse. compile: the extension builds, warnings "
              "are errors. load: the package is imported and its smoke test runs. Each includes those before it.")  # fmt: skip
@click.option(
    "--check", "compare_only", is_flag=True, help="Say whether DIR is up to date; exit with 1 if it is not."
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def wrap(spec: Path, folder: Path, dry_run: bool, level: Level, compare_only: bool, as_json: bool) -> None:
    """Generate Python bindings of a C or C++ library.

    SPEC is a YAML file.

    Out come a guarded C++ bridge with a C ABI, low-level bindings compiled by cffi, and a typed Python package: a project that
    pip can build. Regions of the files that are marked keep what you write there.
    """
    from gpucore_wrap.check import load_spec
    from gpucore_wrap.generate import generate
    from gpucore_wrap.output import compare, write
    from gpucore_wrap.verify import verify

    report: dict[str, object] = {"spec": str(spec), "output": str(folder), "ok": False, "verify": level}
    try:
        checked = load_spec(spec)
        tree = generate(checked, folder)
        files = compare(tree.files, folder)
        report["files"] = [{"path": file.path, "status": file.status} for file in files]
        texts = {file.path: file.text for file in files if file.status != "stale"}
        report["done"] = verify(checked, tree, texts, folder, level)
        differ = [file for file in files if file.status != "unchanged"]
        report["up_to_date"] = not differ
        if not dry_run and not compare_only:
            write(files, folder)
    except WrapError as error:
        report["errors"] = _errors(error)
        if as_json:
            click.echo(json.dumps(report, indent=2))
        else:
            click.echo(_headed(error), err=True)
        raise click.exceptions.Exit(1) from None
    report["ok"] = not (compare_only and differ)
    report["written"] = not dry_run and not compare_only
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        verb = "would be " if dry_run or compare_only else ""
        for file in differ:
            done = {"new": "written", "changed": "rewritten", "stale": "removed"}[file.status]
            click.echo(f"{verb}{done:9} {folder / file.path}")
        for line in report["done"] if isinstance(report["done"], list) else []:
            click.echo(line)
        told = f"{len(differ)} {verb}changed" if differ else "all up to date"
        click.echo(f"{folder}: {len(files)} files, {told}")
    if compare_only and differ:
        raise click.exceptions.Exit(1)


def _headed(error: WrapError) -> str:
    if isinstance(error, VerifyError):
        return f"error: the generated files do not pass --verify={error.level}\n{error}"
    return str(error) if isinstance(error, SpecError) else f"error: {error}"


def _errors(error: WrapError) -> list[dict[str, object]]:
    if isinstance(error, SpecError):
        return [_problem(problem) for problem in error.problems]
    return [{"message": str(error), **({"level": error.level} if isinstance(error, VerifyError) else {})}]


def _problem(problem: Problem) -> dict[str, object]:
    where = problem.position
    return {
        "file": where.file,
        "line": where.line,
        "column": where.column,
        "message": problem.message,
        "fix": problem.fix,
    }

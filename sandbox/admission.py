"""Which modules may run under a plan: everything that can be said of a module before it is compiled.

Reading modules lives in `sandbox/wasm`, compiling (which finds what is invalid) in `compiler.py`, showing in
`inspection.py`.
A module that is admitted imports nothing but host calls with their own signatures, and fits the plan's limits
as it starts; which of its calls are granted is the monitor's to decide. It is longer than most: the checks
stand in the order in which they are made.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from policy.calls import MODULE
from policy.plan import UNLIMITED, Limits, Plan
from sandbox.component_admission import check_calls, check_instances, parts_of
from sandbox.component_admission import read as read_component
from sandbox.imports import Provision, host_call, provision, signature
from sandbox.refusal import AdmissionRefused, Refusal, listed, quoted
from sandbox.wasm.component.assembly import is_component
from sandbox.wasm.cursor import Fault, TooManyError, WasmError
from sandbox.wasm.reader import read_module
from sandbox.wasm.shape import Export, ExternKind, Import, MemoryType, ModuleShape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.parts import Parts

START = "_start"
INITIALIZE = "_initialize"
_NUMBERS: Final = {"i32", "i64", "f32", "f64"}
_UNREADABLE: Final = {
    Fault.EMPTY: Refusal.EMPTY,
    Fault.NOT_WASM: Refusal.NOT_WASM,
    Fault.TEXT: Refusal.TEXT,
    Fault.COMPONENT: Refusal.COMPONENT,
    Fault.VERSION: Refusal.VERSION,
    Fault.TRUNCATED: Refusal.TRUNCATED,
    Fault.MALFORMED: Refusal.INVALID,
    Fault.TOO_MANY: Refusal.TOO_MANY,
}
_TOO_MANY: Final = {"imports": Refusal.TOO_MANY_IMPORTS, "exports": Refusal.TOO_MANY_EXPORTS}
_ADVICE: Final = {
    Fault.TEXT: ": compile it first, as with `wat2wasm`",
}


@dataclass(frozen=True, slots=True)
class Admitted:
    """A module that may be compiled and run under the plan it was admitted for."""

    name: str  # as the operator gave it
    digest: str  # `sha256:…` of the module's bytes
    shape: ModuleShape
    entry: str  # the export to call; takes no parameters
    has_initializer: bool  # `_initialize` is to be called before the entry
    has_memory: bool  # exports a memory named `memory`, without which host calls with pointers fail
    parts: Parts | None = None  # of a component

    @property
    def host_calls(self) -> tuple[str, ...]:
        """Names of the host calls it imports, each once, in the order of its imports."""
        return tuple(dict.fromkeys(item.name for item in self.shape.imports))


@dataclass(frozen=True, slots=True)
class _Admitting:
    """What a component is admitted for."""

    name: str
    digest: str
    plan: Plan
    invoke: str | None
    tenant: str | None


def digest_of(module: bytes) -> str:
    """Name a module: `sha256:` and the SHA-256 of its bytes."""
    return f"sha256:{hashlib.sha256(module).hexdigest()}"


def admit(
    module: bytes,
    *,
    name: str,
    plan: Plan,
    invoke: str | None = None,
    tenant: str | None = None,
    digest: str | None = None,
) -> Admitted:
    """Check a module against what can be run here and against `plan`; raises AdmissionRefused.

    `name` is what the policy's `match.name` is compared with, `tenant` its `match.tenant`; `invoke`
    names an export to call instead of `_start`; `digest` is the module's, where it is known.
    Function bodies are not checked: the compiler does that.
    """
    check_size(len(module), plan.limits)
    if is_component(module):
        return _admit_component(
            module, _Admitting(name, digest or digest_of(module), plan, invoke=invoke, tenant=tenant)
        )
    shape = read_shape(module)
    digest = digest or digest_of(module)
    _check_match(digest, name, plan)
    _check_tenant(tenant, plan)
    check_shape(shape)
    check_limits(shape, plan.limits)
    return Admitted(
        name=name,
        digest=digest,
        shape=shape,
        entry=check_entry(shape, invoke),
        has_initializer=invoke not in {None, INITIALIZE, START} and _is_plain(shape.export(INITIALIZE)),
        has_memory=any(item.name == "memory" and item.kind is ExternKind.MEMORY for item in shape.exports),
    )


def _admit_component(module: bytes, admitting: _Admitting) -> Admitted:
    """Check a component as a module is checked, all its core modules together."""
    component, limits = read_component(module), admitting.plan.limits
    _check_match(admitting.digest, admitting.name, admitting.plan)
    _check_tenant(admitting.tenant, admitting.plan)
    for memory in component.shape.memories:
        _check_memory_kind(memory)
    check_calls(component)
    check_limits(component.shape, limits)
    check_instances(component, limits)
    parts = parts_of(component, admitting.invoke)
    return Admitted(
        name=admitting.name,
        digest=admitting.digest,
        shape=component.shape,
        entry=parts.entry[1],
        has_initializer=False,
        has_memory=True,
        parts=parts,
    )


def check_any_plan(module: bytes) -> None:
    """Refuse what no plan can make run here, whatever its entry; a component too."""
    if is_component(module):
        check_calls(read_component(module))
    else:
        check_shape(read_shape(module))


def check_size(size_bytes: int, limits: Limits) -> None:
    """Refuse a module larger than the plan's limit; ask before reading one, too."""
    if _exceeds(size_bytes, limits.module_bytes):
        raise AdmissionRefused(
            Refusal.TOO_LARGE,
            f"the module has {size_bytes} bytes, more than the policy's limit of {limits.module_bytes}",
        )


def read_shape(module: bytes) -> ModuleShape:
    """Read a module's outline; refuse what is no core module of this version."""
    try:
        return read_module(module)
    except TooManyError as err:
        reason = _TOO_MANY.get(err.what, Refusal.TOO_MANY)
        raise AdmissionRefused(
            reason, f"the module has {err.found} {err.what}, more than the {err.cap} that are taken here"
        ) from err
    except WasmError as err:
        reason = _UNREADABLE[err.fault]
        subject = "the module is " if err.fault in {Fault.TEXT, Fault.COMPONENT} else "not a valid module, "
        place = "" if err.fault in {Fault.TEXT, Fault.COMPONENT} else f"byte {err.offset}: "
        raise AdmissionRefused(reason, f"{subject}{place}{err.problem}{_ADVICE.get(err.fault, '')}") from err


def check_shape(shape: ModuleShape) -> None:
    """Refuse what no plan can make run here: memories of other kinds, and imports that nothing provides."""
    for memory in shape.memories:
        _check_memory_kind(memory)
    _check_import_kinds(shape.imports)
    _check_imports(shape.imports)


def check_limits(shape: ModuleShape, limits: Limits) -> None:
    """Refuse a module that exceeds the plan's limits before it has done anything."""
    if _exceeds(len(shape.memories), limits.memories):
        raise AdmissionRefused(
            Refusal.TOO_MANY_MEMORIES,
            f"the module has {len(shape.memories)} memories, more than the policy allows: {limits.memories}",
        )
    if _exceeds(len(shape.tables), limits.tables):
        raise AdmissionRefused(
            Refusal.TOO_MANY_TABLES,
            f"the module has {len(shape.tables)} tables, more than the policy allows: {limits.tables}",
        )
    needed = sum(memory.minimum_bytes for memory in shape.memories)
    if _exceeds(needed, limits.memory_bytes):
        raise AdmissionRefused(
            Refusal.MEMORY_SIZE,
            f"the module starts with {needed} bytes of memory, "
            f"more than the policy's limit of {limits.memory_bytes}",
        )
    largest = max((table.minimum for table in shape.tables), default=0)
    if _exceeds(largest, limits.table_elements):
        raise AdmissionRefused(
            Refusal.TABLE_SIZE,
            f"the module starts with a table of {largest} elements, "
            f"more than the policy's limit of {limits.table_elements}",
        )


def check_entry(shape: ModuleShape, invoke: str | None) -> str:
    """Return the name of the export to call; refuse a module without one that can be called from here."""
    wanted = START if invoke is None else invoke
    export = shape.export(wanted)
    if export is None or export.signature is None:
        raise _no_entry(shape, wanted, is_default=invoke is None)
    if export.signature.params:
        raise AdmissionRefused(
            Refusal.ENTRY_SIGNATURE,
            f"{quoted(wanted)} takes parameters, {_signature_text(export)}; expected none",
        )
    if not _NUMBERS.issuperset(export.signature.results):
        raise AdmissionRefused(
            Refusal.ENTRY_SIGNATURE,
            f"{quoted(wanted)} returns what is no number, {_signature_text(export)}; expected numbers",
        )
    return wanted


def callable_exports(shape: ModuleShape) -> tuple[str, ...]:
    """Names of the exported functions that `--invoke` can call, as the module spells them."""
    return tuple(
        item.name
        for item in shape.exports
        if item.signature and not item.signature.params and _NUMBERS.issuperset(item.signature.results)
    )


def _exceeds(value: int, limit: int) -> bool:
    return limit != UNLIMITED and value > limit


def _is_plain(export: Export | None) -> bool:
    return (
        export is not None
        and export.signature is not None
        and export.signature == type(export.signature)((), ())
    )


def _signature_text(export: Export) -> str:
    return quoted(str(export.signature))


def _no_entry(shape: ModuleShape, wanted: str, *, is_default: bool) -> AdmissionRefused:
    offers = callable_exports(shape)
    reason = Refusal.NO_ENTRY if is_default else Refusal.ENTRY_MISSING
    problem = f"the module exports no function {quoted(wanted)}"
    if not offers:
        return AdmissionRefused(reason, f"{problem}, and no other that takes no parameters")
    return AdmissionRefused(reason, f"{problem}; call another with `--invoke NAME`, one of {listed(offers)}")


def _check_match(digest: str, name: str, plan: Plan) -> None:
    if plan.match_digests and digest not in plan.match_digests:
        raise AdmissionRefused(
            Refusal.MATCH,
            f"the policy {quoted(plan.name)} is for modules with another digest: this one is {digest}, "
            f"`match.digest` names {listed(plan.match_digests)}",
        )
    if plan.match_names and not any(fnmatchcase(name, pattern) for pattern in plan.match_names):
        raise AdmissionRefused(
            Refusal.MATCH,
            f"the policy {quoted(plan.name)} is for modules of another name: this one is {quoted(name)}, "
            f"`match.name` names {listed(plan.match_names)}",
        )


def _check_tenant(tenant: str | None, plan: Plan) -> None:
    if not plan.match_tenants:
        return
    # SECURITY: a policy for some tenants is for nobody whose tenant is not known
    if tenant is None or not any(fnmatchcase(tenant, pattern) for pattern in plan.match_tenants):
        raise AdmissionRefused(
            Refusal.MATCH,
            f"the policy {quoted(plan.name)} is for other tenants: this one is "
            f"{'not named' if tenant is None else quoted(tenant)}, `match.tenant` names "
            f"{listed(plan.match_tenants)}",
        )


def _check_memory_kind(memory: MemoryType) -> None:
    if memory.is_shared:
        raise AdmissionRefused(
            Refusal.SHARED_MEMORY,
            "the module has a shared memory: threads are not supported; rebuild without them",
        )
    if memory.is_64:
        raise AdmissionRefused(
            Refusal.MEMORY64, "the module has a 64-bit memory, which is not supported; rebuild for wasm32"
        )


def _check_import_kinds(imports: Sequence[Import]) -> None:
    memories = [_label(item) for item in imports if item.kind is ExternKind.MEMORY]
    if memories:
        raise AdmissionRefused(
            Refusal.IMPORTED_MEMORY,
            f"the module imports its memory, {listed(memories)}; expected one of its own",
        )
    others = [item for item in imports if provision(item) is Provision.KIND]
    if others:
        labels = listed([f"{item.kind.word} {_label(item)}" for item in others])
        raise AdmissionRefused(Refusal.IMPORT_KIND, f"the module imports what is no function: {labels}")


def _check_imports(imports: Sequence[Import]) -> None:
    by_provision: dict[Provision, list[Import]] = {}
    for item in imports:
        by_provision.setdefault(provision(item), []).append(item)
    if found := by_provision.get(Provision.PREVIEW0):
        raise AdmissionRefused(
            Refusal.PREVIEW0,
            "the module is built for `wasi_unstable`, preview 0 of WASI "
            f"({listed([item.name for item in found])}); "
            f"rebuild it for `{MODULE}`",
        )
    if found := by_provision.get(Provision.FOREIGN):
        raise AdmissionRefused(
            Refusal.FOREIGN_IMPORT,
            f"the module imports what no host function here provides: {listed(list(map(_label, found)))}",
        )
    if found := by_provision.get(Provision.SIGNATURE):
        raise AdmissionRefused(
            Refusal.IMPORT_SIGNATURE,
            f"the module imports host calls with another signature: {'; '.join(map(_mismatch, found[:3]))}",
        )


def _label(item: Import) -> str:
    return f"{item.module}.{item.name}"


def _mismatch(item: Import) -> str:
    call = host_call(item)
    expected = quoted(str(signature(call))) if call else "none"
    return f"{quoted(item.name)} as {quoted(str(item.type))}, expected {expected}"

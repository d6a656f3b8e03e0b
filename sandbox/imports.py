"""Whether a host function here provides an import, and whether a plan grants it.

Admission and inspection both ask here, so what `module inspect` shows is what admission does.
A grant here is what can be said before a run: the monitor decides on each call, by its arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from policy.calls import CALL_CODES, CALLS, MODULE, HostCall
from policy.component_calls import BASES, COMPONENT_CODES, MAX_CODES, MODULES, NAMES
from policy.plan import Plan, Right
from sandbox.bridge.interfaces import FUNCTIONS, UNSERVED
from sandbox.wasm.component.interfaces import InterfaceName
from sandbox.wasm.shape import ExternKind, FuncType, Import

PREVIEW0 = "wasi_unstable"
_LETTERS: Final = {"i": "i32", "I": "i64"}
_NEEDS_VARIABLES: Final = ("environ_get", "environ_sizes_get")
_NEEDS_MOUNTS: Final = ("fd_prestat_get", "fd_prestat_dir_name")
# These work on the standard streams, whatever the mounts allow.
_ON_STREAMS: Final = ("fd_read", "fd_write")


class Provision(StrEnum):
    """What stands behind an import."""

    PROVIDED = "provided"
    FOREIGN = "no host function of that name"
    PREVIEW0 = "preview 0 of WASI"
    SIGNATURE = "another signature"
    KIND = "not a function"


class Standing(StrEnum):
    """What a plan makes of an import that is provided."""

    GRANTED = "granted"
    EMPTY = "granted-empty"  # can be called, and finds nothing there
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a plan makes of one host call, the rule behind it if it is refused, and a remark."""

    standing: Standing
    rule_id: str = ""
    note: str = ""


def signature(call: HostCall) -> FuncType:
    """Return the signature that a guest must import a host call with."""
    results = ("i32",) if call.has_result else ()
    return FuncType(tuple(_LETTERS[letter] for letter in call.parameters), results)


def host_call(item: Import) -> HostCall | None:
    """Return the host call that an import names or stands for, whatever its signature."""
    code = call_code(item.module, item.name)
    return None if code is None or BASES[code] == MAX_CODES else CALLS[BASES[code]]


def call_code(module: str, name: str) -> int | None:
    """Return the code of the call that an import names, if it names one."""
    if module == MODULE:
        code = CALL_CODES.get(name)
        return None if code is None or CALLS[code].is_inner else code
    return COMPONENT_CODES.get((_interface(module), name))


def unserved(module: str, name: str) -> tuple[str, str] | None:
    """Return interface and function of what may be imported and never called, if an import names that."""
    place = (_interface(module), name)
    return place if place in UNSERVED else None


def _interface(module: str) -> str:
    """Give an interface of WASI 0.2 without its version; empty for anything else."""
    interface = InterfaceName.parse(module)
    if interface is None or not (interface.version or "").startswith("0.2."):
        return ""
    return f"{interface.namespace}:{interface.package}/{interface.interface}"


def provider(item: Import) -> str:
    """Name the interface that has what an import names, without its version; empty when none has."""
    code = call_code(item.module, item.name)
    if code is None:
        return _interface(item.module) if unserved(item.module, item.name) else ""
    return MODULES[code]


def wanted(module: str, name: str) -> FuncType | None:
    """Return the signature that an import has to have; None where nothing provides it."""
    code, place = call_code(module, name), unserved(module, name)
    if code is None and place is None:
        return None
    if code is not None and code < len(CALLS):
        return signature(CALLS[code])
    function = UNSERVED[place] if code is None and place else FUNCTIONS[NAMES[code or 0]]
    return FuncType(function.core_params, function.core_results)


def provision(item: Import) -> Provision:
    """Say what stands behind an import."""
    if item.kind is not ExternKind.FUNCTION:
        return Provision.KIND
    if item.module == PREVIEW0:
        return Provision.PREVIEW0
    expected = wanted(item.module, item.name)
    if expected is None:
        return Provision.FOREIGN
    return Provision.PROVIDED if item.type == expected else Provision.SIGNATURE


def grant(call: HostCall, plan: Plan) -> Grant:
    """Say what a plan makes of a host call, as far as that does not depend on the call's arguments."""
    rule = dict(plan.denied_calls).get(call.name)
    if rule is not None:
        return Grant(Standing.REFUSED, plan.rules[rule].id, plan.rules[rule].hint)
    if call.name in _NEEDS_VARIABLES and not plan.environment:
        return Grant(Standing.EMPTY, note="the policy sets no variables")
    if call.name in _NEEDS_MOUNTS and not plan.mounts:
        return Grant(Standing.EMPTY, note="the policy has no mounts")
    if call.name.startswith("path_"):
        lacking = _lacking(call, plan)
        return Grant(Standing.REFUSED, plan.rules[0].id, lacking) if lacking else Grant(Standing.GRANTED)
    if call.rights and call.name not in _ON_STREAMS:
        lacking = _lacking(call, plan)
        return Grant(Standing.EMPTY, note=lacking) if lacking else Grant(Standing.GRANTED)
    return Grant(Standing.GRANTED)


def _lacking(call: HostCall, plan: Plan) -> str:
    """Say why no path of the plan can serve the call; empty when one can."""
    if not plan.mounts:
        return "the policy has no mounts"
    for rights in (call.rights, call.rights2):
        if rights and not any(entry.rights & rights == rights for entry in plan.automaton.classes):
            return f"no path of the policy allows {_words(rights)}"
    # What is needed to open a file depends on how it is opened: some right, at least.
    if not any(entry.rights for entry in plan.automaton.classes):
        return "no path of the policy allows anything"
    return ""


def _words(rights: Right) -> str:
    return " and ".join(right.name.lower() for right in Right if right in rights and right.name)

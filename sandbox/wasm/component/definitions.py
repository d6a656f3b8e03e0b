"""The grammar of a component's sections: instances, aliases, canonical functions, imports, exports.

Types live in `types.py`.
The value section is not in the grammar: the engine has no such section.
"""

from __future__ import annotations

from sandbox.wasm.component.core_types import CORE_TYPE, CORE_VALUE
from sandbox.wasm.component.grammar import (
    Flag,
    Index,
    Kind,
    Level,
    Maybe,
    Name,
    Number,
    Rest,
    Sections,
    Several,
    Shape,
    Space,
    choice,
    shape,
)
from sandbox.wasm.component.types import ALIAS, EXTERN_NAME, EXTERN_TYPE, RESULTS, SORTS, TYPE

CORE_SORT = {
    space: shape(str(space), code[2:], space, index=Index(space))
    for code, space in SORTS.items()
    if code.startswith("00")
}
_ITEM = choice("sort", *(shape(str(space), code, space, index=Index(space)) for code, space in SORTS.items()))

CORE_ARGUMENT = shape(
    "core argument", name=Name(), item=choice("core argument", CORE_SORT[Space.CORE_INSTANCE])
)
CORE_EXPORT = shape("core inline export", name=Name(), item=choice("core sort", *CORE_SORT.values()))
_ARGUMENT = shape("argument", name=Name(), item=_ITEM)
_EXPORT = shape("inline export", name=EXTERN_NAME, item=_ITEM)

CORE_INSTANTIATE = shape(
    "core instantiate",
    "00",
    Space.CORE_INSTANCE,
    module=Index(Space.CORE_MODULE),
    args=Several(CORE_ARGUMENT, "arguments"),
)
CORE_EXPORTS = shape(
    "core exports", "01", Space.CORE_INSTANCE, exports=Several(CORE_EXPORT, "inline exports")
)
INSTANTIATE = shape(
    "instantiate",
    "00",
    Space.INSTANCE,
    component=Index(Space.COMPONENT),
    args=Several(_ARGUMENT, "arguments"),
)
EXPORTS = shape("exports", "01", Space.INSTANCE, exports=Several(_EXPORT, "inline exports"))

_CORE_FUNC = Index(Space.CORE_FUNC)
_OPTION = choice(
    "canonical option",
    shape("utf8", "00"),
    shape("utf16", "01"),
    shape("latin1+utf16", "02"),
    shape("memory", "03", index=Index(Space.CORE_MEMORY)),
    shape("realloc", "04", index=_CORE_FUNC),
    shape("post-return", "05", index=_CORE_FUNC),
    shape("async", "06"),
    shape("callback", "07", index=_CORE_FUNC),
    shape("core-type", "08", index=Index(Space.CORE_TYPE)),
    shape("gc", "09"),
)
# The fields that canonical functions are made of.
_T: dict[str, Kind] = {"type": Index(Space.TYPE)}
_OPTIONS: dict[str, Kind] = {"options": Several(_OPTION, "canonical options")}
_ASYNC: dict[str, Kind] = {"is_async": Flag()}
_CANCEL: dict[str, Kind] = {"is_cancellable": Flag()}
_MEMORY: dict[str, Kind] = {"memory": Index(Space.CORE_MEMORY)}
_SLOT: dict[str, Kind] = {"type": CORE_VALUE, "slot": Number()}
_START: dict[str, Kind] = {"type": Index(Space.CORE_TYPE)}
_TABLE: dict[str, Kind] = {"table": Index(Space.CORE_TABLE)}
_BUILT_IN: tuple[tuple[str, str, dict[str, Kind]], ...] = (
    ("02", "resource.new", _T),
    ("04", "resource.rep", _T),
    ("05", "task.cancel", {}),
    ("06", "subtask.cancel", _ASYNC),
    ("09", "task.return", {"results": RESULTS} | _OPTIONS),
    ("0a", "context.get", _SLOT),
    ("0b", "context.set", _SLOT),
    ("0c", "thread.yield", _CANCEL),
    ("0d", "subtask.drop", {}),
    ("0e", "stream.new", _T),
    ("0f", "stream.read", _T | _OPTIONS),
    ("10", "stream.write", _T | _OPTIONS),
    ("11", "stream.cancel-read", _T | _ASYNC),
    ("12", "stream.cancel-write", _T | _ASYNC),
    ("13", "stream.drop-readable", _T),
    ("14", "stream.drop-writable", _T),
    ("15", "future.new", _T),
    ("16", "future.read", _T | _OPTIONS),
    ("17", "future.write", _T | _OPTIONS),
    ("18", "future.cancel-read", _T | _ASYNC),
    ("19", "future.cancel-write", _T | _ASYNC),
    ("1a", "future.drop-readable", _T),
    ("1b", "future.drop-writable", _T),
    ("1c", "error-context.new", _OPTIONS),
    ("1d", "error-context.debug-message", _OPTIONS),
    ("1e", "error-context.drop", {}),
    ("1f", "waitable-set.new", {}),
    ("20", "waitable-set.wait", _CANCEL | _MEMORY),
    ("21", "waitable-set.poll", _CANCEL | _MEMORY),
    ("22", "waitable-set.drop", {}),
    ("23", "waitable.join", {}),
    ("24", "backpressure.inc", {}),
    ("25", "backpressure.dec", {}),
    ("26", "thread.index", {}),
    ("27", "thread.new-indirect", _START | _TABLE),
    ("28", "thread.resume-later", {}),
    ("29", "thread.suspend", _CANCEL),
    ("2a", "thread.suspend-then-resume", _CANCEL),
    ("2b", "thread.yield-then-resume", _CANCEL),
    ("2c", "thread.suspend-then-promote", _CANCEL),
    ("2d", "thread.yield-then-promote", _CANCEL),
)
RESOURCE_DROP = shape("resource.drop", "03", Space.CORE_FUNC, type=Index(Space.TYPE))
LIFT = shape("lift", "0000", Space.FUNC, func=_CORE_FUNC, **_OPTIONS, **_T)
LOWER = shape("lower", "0100", Space.CORE_FUNC, func=Index(Space.FUNC), **_OPTIONS)
CANON = choice(
    "canonical function",
    LIFT,
    LOWER,
    RESOURCE_DROP,
    *(shape(name, code, Space.CORE_FUNC, **fields) for code, name, fields in _BUILT_IN),
)

CUSTOM = shape("custom section", name=Name(), contents=Rest())
MODULE = shape("core module", "", Space.CORE_MODULE, contents=Rest(prefix=b"\0asm\1\0\0\0"))
COMPONENT = shape("component", "", Space.COMPONENT, sections=Level(Sections()))
# What a start function returns are values; how many is in the node.
START = shape(
    "start",
    "",
    Space.VALUE,
    func=Index(Space.FUNC),
    args=Several(Index(Space.VALUE), "arguments"),
    results=Number(),
)
IMPORT = shape("import", name=EXTERN_NAME, type=EXTERN_TYPE)
EXPORT = shape("export", name=EXTERN_NAME, item=_ITEM, type=Maybe(EXTERN_TYPE))

SECTIONS: dict[int, Several | Shape] = {
    0: CUSTOM,
    1: MODULE,
    2: Several(choice("core instance", CORE_INSTANTIATE, CORE_EXPORTS), "core instances"),
    3: Several(CORE_TYPE, "core types"),
    4: COMPONENT,
    5: Several(choice("instance", INSTANTIATE, EXPORTS), "instances"),
    6: Several(ALIAS, "aliases"),
    7: Several(TYPE, "types"),
    8: Several(CANON, "canonical functions"),
    9: START,
    10: Several(IMPORT, "imports"),
    11: Several(EXPORT, "exports"),
}
"""What each section holds, by its code: one construct, or a count and that many."""

PREAMBLE = b"\0asm\x0d\0\1\0"

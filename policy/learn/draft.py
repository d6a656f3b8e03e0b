"""The document that was learned: what of the policy that is extended stays, and what is new in it.

The storage rules come from `rules.py`, and the text from `writing.py`. INVARIANT: nothing that the extended
policy denies or limits is loosened except where a run was ended by a limit, and never above a boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from policy.learn.evidence import Seen, counted
from policy.learn.generalise import words
from policy.learn.names import visible
from policy.learn.writing import Remarks, Value, as_yaml
from policy.places import Path, Plain
from policy.plan import SourceKind
from policy.schema_run import LimitsSection
from policy.uris import parse_allow

if TYPE_CHECKING:
    from policy.document import BoundaryDocument, PolicyDocument
    from policy.learn.needs import Needs
    from policy.learn.rules import Learned, LearnedRule
    from policy.plan import Plan

_ALLOW: Path = ("permissions", "storage", "allow")
_SHOWN_RUNS = 8
_SHOWN_ITEMS = 50
_FIELDS: Final = {
    "host_calls": ("host_calls", 1_000_000),
    "stdout": ("stdout_bytes", 2**20),
    "stderr": ("stderr_bytes", 2**18),
    "disk": ("disk_bytes", 2**24),
    "files": ("files", 256),
    "open_files": ("open_files", 64),
}
"""Each limit that can be learned: its field in a plan, and what holds where no document says it."""

_BYTES: Final = frozenset({"memory", "module", "stack", "stdout", "stderr", "disk", "net_in", "net_out"})
_TIMES: Final = frozenset({"cpu", "timeout", "compile"})
_NEEDED: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "stdin": (("stdio",), "caller"),
    "stdout": (("stdio",), "capture"),
    "stderr": (("stdio",), "capture"),
    "wall": (("clocks",), "real"),
    "monotonic": (("clocks",), "real"),
    "random": ((), "real"),
}
"""The section of each capability, and what is written where it was needed."""

_MOST: Final = {"open_files": 4_000, "host_calls": 2**40}

Tree = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Frame:
    """What a draft is made for, besides what was needed."""

    name: str
    modules: tuple[str, ...]
    runs: tuple[str, ...]
    start: PolicyDocument | None
    base_dir: str
    plan: Plan | None  # of the policy that is extended, with its baselines
    boundaries: tuple[BoundaryDocument, ...]

    @property
    def is_learning(self) -> bool:
        """Whether the policy that is extended is one to learn with."""
        return self.start is not None and self.start.model.mode == "learn"


def written(needs: Needs, learned: Learned, frame: Frame) -> str:
    """The text of the draft."""
    remarks = Remarks()
    tree = copied(frame.start.source.value) if frame.start else _fresh(frame)
    if frame.start is not None:
        _set_match(tree, frame)
        _set_mode(tree, needs, frame, remarks)
    _set_storage(tree, needs, learned, frame, remarks=remarks)
    _set_capabilities(tree, needs, frame, remarks)
    _set_limits(tree, needs, frame, remarks)
    return "".join(f"# {line}\n" for line in _heading(needs, learned, frame)) + as_yaml(tree, remarks)


def _heading(needs: Needs, learned: Learned, frame: Frame) -> list[str]:
    shown = ", ".join(frame.runs[:_SHOWN_RUNS])
    more = f" and {len(frame.runs) - _SHOWN_RUNS} more" if len(frame.runs) > _SHOWN_RUNS else ""
    lines = [f"A draft, learned from {counted(len(frame.runs), 'run')}: {shown}{more}."]
    if frame.start is not None:
        lines.append(f"It extends the policy {frame.start.name} ({frame.start.digest}).")
    lines += _listed("Not learned", [f"{each.what}: {each.why}" for each in sorted(needs.complaints)])
    lines += _listed(
        "Not generalised", [f"{each.where}: {each.why}; instead: {each.instead}" for each in learned.refused]
    )
    return lines + _listed("To look at", list(learned.notes))


def _listed(title: str, items: list[str]) -> list[str]:
    more = [f"  and {len(items) - _SHOWN_ITEMS} more"] if len(items) > _SHOWN_ITEMS else []
    return [f"{title}:", *(f"  {each}" for each in items[:_SHOWN_ITEMS]), *more] if items else []


def _fresh(frame: Frame) -> Tree:
    tree: Tree = {
        "version": Plain("1"),
        "kind": Plain("ModulePolicy"),
        "metadata": {"name": frame.name},
    }
    if frame.modules:
        tree["match"] = {"digest": list(frame.modules)}
    return tree


def copied(value: object) -> Tree:
    """The values of a document, in mappings and lists that can be changed."""

    def copy(each: object) -> Value:
        if isinstance(each, dict):
            pairs = cast("dict[str, object]", each).items()
            return {key: copy(child) for key, child in pairs}
        if isinstance(each, tuple | list):
            return [copy(child) for child in cast("tuple[object, ...]", each)]
        return cast("str | None", each)

    return cast("Tree", copy(value))


def _section(tree: Tree, *keys: str) -> Tree:
    """The mapping at these keys, made where it is missing."""
    for key in keys:
        child = tree.get(key)
        if not isinstance(child, dict):
            child = {}
            tree[key] = child
        tree = cast("Tree", child)
    return tree


def _set_match(tree: Tree, frame: Frame) -> None:
    match = frame.start.model.match if frame.start else None
    if frame.modules and not (match and match.digest):
        had = tree.pop("match", None)
        own = cast("Tree", had) if isinstance(had, dict) else {}
        # in front of the permissions, where a reader looks for it
        rest = {key: tree.pop(key) for key in list(tree) if key not in {"version", "kind", "metadata"}}
        tree["match"] = {**own, "digest": list(frame.modules)}
        tree.update(rest)


def _set_mode(tree: Tree, needs: Needs, frame: Frame, remarks: Remarks) -> None:
    if frame.is_learning and needs.is_open:
        remarks.above["mode",] = [
            "The last run was refused something that is granted now: run the program with this policy, and",
            "learn again from all runs. What nobody has refused yet does not show before.",
        ]
    elif "mode" in tree:
        del tree["mode"]


def _set_storage(tree: Tree, needs: Needs, learned: Learned, frame: Frame, *, remarks: Remarks) -> None:
    kept = _kept(tree, frame, keeps_mounts=frame.is_learning and needs.is_open)
    allow: list[Value] = list(kept)
    for rule in learned.rules:
        path = (*_ALLOW, len(allow))
        remarks.above[path] = _said(rule)
        for index, (_, seen) in enumerate(rule.include):
            remarks.beside[*path, "include", index] = seen.told
        allow.append(_rule(rule))
    storage = _section(tree, "permissions", "storage")
    storage["allow"] = allow


def _kept(tree: Tree, frame: Frame, *, keeps_mounts: bool) -> list[Value]:
    """The rules of the extended policy; relative paths become absolute, since the draft may lie elsewhere."""
    if frame.start is None:
        return []
    raw = cast("list[Tree]", _section(tree, "permissions", "storage").get("allow") or [])
    kept: list[Value] = []
    for rule, model in zip(raw, frame.start.model.permissions.storage.allow, strict=True):
        if not model.access and not keeps_mounts:
            continue
        target = parse_allow(model.uri)
        if target.is_relative:
            path = target.host_path(frame.base_dir)
            rule["uri"] = f"fs://{path.rstrip('/')}/**" if model.uri.endswith("**") else f"fs://{path}"
        kept.append(rule)
    return kept


def _said(rule: LearnedRule) -> list[str]:
    what = f"{words(rule.rights)} below {visible(rule.mount.guest)}: {rule.seen.told}"
    return [what, *([f"({rule.remark})"] if rule.remark else [])]


def _rule(rule: LearnedRule) -> Tree:
    value: Tree = {
        "id": Plain(rule.id),
        "uri": rule.uri,
        "mount": rule.mount.guest,
        "access": [Plain(word) for word in words(rule.rights).split(", ")],
    }
    if rule.include:
        value["include"] = [glob for glob, _ in rule.include]
    if rule.exclude:
        value["exclude"] = list(rule.exclude)
    return value


def _set_capabilities(tree: Tree, needs: Needs, frame: Frame, remarks: Remarks) -> None:
    """Streams, clocks and random bytes: the least that was used, besides what is given anyway."""
    has_none = _without(frame.plan) if frame.plan else frozenset({*_NEEDED})
    for name, (section, needed) in _NEEDED.items():
        seen = needs.capabilities.get(name)
        if name not in has_none or (frame.plan and not seen):
            continue
        _section(tree, "permissions", *section)[name] = Plain(needed if seen else "none")
        remarks.beside["permissions", *section, name] = seen.told if seen else "never used"


def _without(plan: Plan) -> frozenset[str]:
    """What a plan gives nothing of."""
    given = {
        "stdin": plan.stdio.stdin != "none",
        "stdout": plan.stdio.stdout != "none",
        "stderr": plan.stdio.stderr != "none",
        "wall": plan.clocks.wall is not SourceKind.NONE,
        "monotonic": plan.clocks.monotonic is not SourceKind.NONE,
        "random": plan.random.kind is not SourceKind.NONE,
    }
    return frozenset(name for name, is_given in given.items() if not is_given)


def _lower_limits(tree: Tree, frame: Frame, remarks: Remarks) -> None:
    """What holds where nothing is written may be more than a boundary allows."""
    for name in LimitsSection.model_fields:
        default = cast("int", LimitsSection.model_fields[name].default)
        tops = _tops(name, frame)
        if tops and (default < 0 or min(tops) < default):
            _section(tree, "resources", "limits")[name] = Plain(_quantity(name, min(tops)))
            remarks.beside["resources", "limits", name] = "the most that a boundary allows"


def _set_limits(tree: Tree, needs: Needs, frame: Frame, remarks: Remarks) -> None:
    if frame.start is None:
        _lower_limits(tree, frame, remarks)
    for name, (field, default) in _FIELDS.items():
        current = getattr(frame.plan.limits, field) if frame.plan else default
        used = needs.used.get(name, 0)
        spent = needs.limits.get(name, Seen())
        if current < 0 or not (spent.calls or used > current):
            continue
        wanted = min(2 ** max(current, used).bit_length(), _MOST.get(name, 2**62))
        ceiling = min(_tops(name, frame), default=wanted)
        raised = min(wanted, ceiling)
        if raised <= current:
            why = f"a boundary allows {_quantity(name, ceiling)} at most, and that is spent"
            needs.complain(f"resources.limits.{name}", why, spent)
            continue
        _section(tree, "resources", "limits")[name] = Plain(_quantity(name, raised))
        told = (
            f"was {_quantity(name, current)}, used {_quantity(name, used)}"
            if used
            else f"was {_quantity(name, current)}"
        )
        remarks.beside["resources", "limits", name] = f"{told}; {spent.told}" if spent.calls else told


def _tops(name: str, frame: Frame) -> list[int]:
    """What each boundary allows of a limit at most, where it says so."""
    values = [cast("int | None", getattr(each.model.ceiling.limits, name)) for each in frame.boundaries]
    return [value for value in values if value is not None and value >= 0]


def _quantity(name: str, value: int) -> str:
    if name in _TIMES:
        return f"{value}ms" if value % 1_000 else f"{value // 1_000}s"
    if name in _BYTES:
        for power, unit in ((30, "Gi"), (20, "Mi"), (10, "Ki")):
            if value and value % 2**power == 0:
                return f"{value >> power}{unit}"
    return str(value)

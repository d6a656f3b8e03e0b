"""Reads recorded calls: what each needed, or why it is not learned.

What is kept of them is in `needs.py`. INVARIANT: a refusal for any other reason than a missing grant never
becomes a need; it is listed with its reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from policy import fixed
from policy.calls import CALL_CODES, CALLS
from policy.learn.evidence import Run, Seen, seen_in
from policy.learn.mounting import Mounted, Pair, Place, mounts_from, place_of
from policy.learn.names import visible
from policy.learn.needs import Asked, Needs
from policy.plan import RIGHTS, Right, RuleId

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.facts import Fact

O_CREAT: Final = 1
O_DIRECTORY: Final = 2
_CONTENT = Right.READ | Right.WRITE | Right.APPEND
_STREAMS: Final = {"stdin": "fd_read", "stdout": "fd_write", "stderr": "fd_write"}
_WHY_REASON: Final = {
    "escape": "the path leads out of the directory it starts from; no grant allows that",
    "symlink": "a link is on the way, and links are not followed where rules tell paths apart",
    "handle": "the descriptor was not opened for that",
    "file_type": "it is neither a regular file nor a directory",
    "clock": "the clock stands still by the policy, so the wait would never end",
    "widens": "the rename or link would give the file rights that it does not have where it is",
    "too_long": "the path is too long",
}
_CAPABILITIES: Final = {
    fixed.RANDOM_NONE: "random",
    fixed.CLOCKS_WALL: "wall",
    fixed.CLOCKS_MONOTONIC: "monotonic",
    fixed.STDIO_STDIN: "stdin",
    fixed.STDIO_STDOUT: "stdout",
    fixed.STDIO_STDERR: "stderr",
}
LEARNED_LIMITS: Final = {
    fixed.LIMIT_HOST_CALLS: "host_calls",
    fixed.LIMIT_STDOUT: "stdout",
    fixed.LIMIT_STDERR: "stderr",
    fixed.LIMIT_DISK: "disk",
    fixed.LIMIT_FILES: "files",
    fixed.LIMIT_OPEN_FILES: "open_files",
}
"""The limits whose use the records show, by rule."""


def needs_of(runs: tuple[Run, ...], mounts: tuple[Mounted, ...], *, from_audits: bool) -> Needs:
    """What the calls of `runs` needed; `mounts` are those that are known.

    Without `from_audits` what was let through only for the audit is no evidence: such a run was not confined.
    """
    known = mounts or mounts_from(_pairs(runs))
    needs = Needs()
    last = max((run.id for run in runs), default="")
    for run in sorted(runs, key=lambda each: each.id):
        for fact in run.facts:
            if fact.decision == "would_deny" and not from_audits:
                why = "it was let through in mode audit, and the boundary wants `learn.from: denials`"
                needs.complain(_told(fact), why, seen_in(run, fact))
                continue
            _Reader(needs, known, run, is_last=run.id == last).read(fact)
        _note_use(needs, run)
        if run.limit and run.limit not in LEARNED_LIMITS.values():
            field_name = f"resources.limits.{run.limit}"
            why = f"the run was cut short, and does not show how much it needs: raise {field_name} by hand"
            needs.complain(f"the limit `{run.limit}`", why, Seen(1, frozenset({run.id}), run.id))
    _complete_writes(needs)
    _complete_moves(needs)
    return needs


def _pairs(runs: tuple[Run, ...]) -> Iterator[Pair]:
    for run in runs:
        for fact in run.facts:
            is_odd = fact.reason in _WHY_REASON
            if fact.target and fact.guest_target and _is_path(fact.target) and not is_odd:
                is_directory = fact.call == "fd_readdir" or bool(
                    fact.call == "path_open" and fact.flags & O_DIRECTORY
                )
                yield Pair(fact.target, fact.guest_target, is_directory)


def _is_path(target: str) -> bool:
    return target.startswith(("/", "tmp://"))


def _told(fact: Fact) -> str:
    where = fact.target or fact.guest_target
    return f"{fact.call} {visible(where)}" if where else fact.call


@dataclass(frozen=True, slots=True)
class _Reader:
    """Takes the facts of one run."""

    needs: Needs
    mounts: tuple[Mounted, ...]
    run: Run
    is_last: bool

    def read(self, fact: Fact) -> None:
        """Note what one fact says."""
        seen = seen_in(self.run, fact)
        if fact.call in {"environ_get", "environ_sizes_get"}:
            self.needs.reads_environment = True
        if fact.decision == "limit":
            self._limit(fact, seen)
        elif fact.decision == "allow":
            self._needed(fact, seen)
        elif fact.reason in _WHY_REASON:
            self.needs.complain(_told(fact), _WHY_REASON[fact.reason], seen)
        elif fact.rule in _CAPABILITIES:
            self._capability(_CAPABILITIES[_rule(fact)], seen, is_refused=True)
        elif fact.rule == fixed.NETWORK_NONE:
            self.needs.complain(_told(fact), "rules for it are not drafted yet", seen)
        elif fact.rule not in {"", fixed.DEFAULT}:
            self._denied(fact, seen)
        else:
            self._needed(fact, seen)

    def _limit(self, fact: Fact, seen: Seen) -> None:
        name = LEARNED_LIMITS.get(_rule(fact))
        if name is None:
            why = f"a budget of the rule {visible(fact.rule)} is spent: raise it in that rule by hand"
            self.needs.complain(_told(fact), why, seen)
            return
        self.needs.limits[name] = self.needs.limits.get(name, Seen()) | seen
        self.needs.is_short |= self.is_last

    def _capability(self, name: str, seen: Seen, *, is_refused: bool) -> None:
        self.needs.capabilities[name] = self.needs.capabilities.get(name, Seen()) | seen
        self.needs.is_short |= is_refused and self.is_last

    def _denied(self, fact: Fact, seen: Seen) -> None:
        if fact.target is not None:
            self.needs.denied[fact.target] = min(self.needs.denied.get(fact.target, fact.rule), fact.rule)
        why = f"the rule {visible(fact.rule)} refuses it, and a denial is no gap in the grants"
        self.needs.complain(_told(fact), why, seen)

    def _needed(self, fact: Fact, seen: Seen) -> None:
        if self._is_capability(fact, seen) or fact.call not in CALL_CODES:
            return
        if CALLS[CALL_CODES[fact.call]].capability != "storage":
            return
        looks = fact.call == "path_filestat_get"
        enters = fact.call == "path_open" and not fact.wants
        if not (fact.wants or looks or enters):
            return  # nothing is asked of a path: a descriptor is closed, or its position told
        place = self._place(fact.target, fact.guest_target)
        if place is None:
            self._unplaced(fact, seen)
            return
        if self.is_last and fact.decision != "allow":
            self.needs.opening.add(place)
        if looks or enters:
            kept = self.needs.looks if looks or not fact.flags & O_DIRECTORY else self.needs.entries
            kept[place] = kept.get(place, Seen()) | seen
            self.needs.asked.add(Asked("path_filestat_get", (place,)))
            return
        self.needs.add(place, _rights(fact), seen)
        if not CALLS[CALL_CODES[fact.call]].rights2:
            self.needs.asked.add(Asked(fact.call, (place,), _rights(fact)))
        self._second(fact, place, seen)

    def _second(self, fact: Fact, first: Place, seen: Seen) -> None:
        """The second path of a rename or a hard link."""
        rights = CALLS[CALL_CODES[fact.call]].rights2
        if not rights:
            return
        second = self._place(fact.target2, None)
        if second is None:
            self.needs.complain(_told(fact), "the record does not say where it leads", seen)
            return
        self.needs.add(second, rights, seen)
        self.needs.moves.add((first, second))
        self.needs.asked.add(Asked(fact.call, (first, second), fact.wants))

    def _is_capability(self, fact: Fact, seen: Seen) -> bool:
        if fact.target in _STREAMS:
            if fact.call == _STREAMS[fact.target]:
                self.needs.asked.add(Asked(fact.call, (), Right(0), fact.target))
                self._capability(fact.target, seen, is_refused=False)
            return True
        match fact.call:
            case "random_get":
                self._capability("random", seen, is_refused=False)
            case "clock_time_get" | "clock_res_get":
                self._capability(
                    fact.target if fact.target in {"wall", "monotonic"} else "monotonic",
                    seen,
                    is_refused=False,
                )
            case "poll_oneoff":
                self._capability("monotonic", seen, is_refused=False)
            case _:
                return False
        return True

    def _place(self, target: str | None, guest: str | None) -> Place | None:
        if target is None or not _is_path(target):
            return None
        return place_of(target, guest, self.mounts)

    def _unplaced(self, fact: Fact, seen: Seen) -> None:
        if fact.decision == "allow" and not fact.is_masked:
            return  # the record is of a descriptor that was never made
        why = "its path was not kept" if fact.target is None else "it lies in no directory that was mounted"
        self.needs.complain(_told(fact), why, seen)


def _rule(fact: Fact) -> RuleId:
    return RuleId(fact.rule)


def _rights(fact: Fact) -> Right:
    """What a call needs at least; whether a write needs more than to append is settled at the end."""
    rights = fact.wants | (fact.missing or Right(0))
    if fact.call == "path_open" and fact.missing in {Right.WRITE, Right.APPEND}:
        rights = fact.wants  # what was missing is the same thing by its wider name
    if fact.call == "fd_write":
        return Right.APPEND
    return rights


def _complete_writes(needs: Needs) -> None:
    """Where a path is opened for writing anyway, to append is no need of its own."""
    for known in needs.rights.values():
        if Right.WRITE in known and Right.APPEND in known:
            known[Right.WRITE] |= known.pop(Right.APPEND)


def _complete_moves(needs: Needs) -> None:
    """A rename may give a file no right that it lacks where it was: so it has it there too."""
    has_changed = True
    while has_changed:
        has_changed = False
        for source, goal in sorted(needs.moves):
            lacking = needs.mask(goal) & _CONTENT & ~needs.mask(source)
            if Right.WRITE in needs.mask(source):
                lacking &= ~Right.APPEND
            for right in RIGHTS:
                if right & lacking:
                    needs.rights[source][right] = needs.rights[goal][right]
                    has_changed = True
    _complete_writes(needs)


def _note_use(needs: Needs, run: Run) -> None:
    """What a run used of each limit that its records show."""
    written = {"stdout": 0, "stderr": 0, "disk": 0}
    for fact in run.facts:
        name = fact.target if fact.target in _STREAMS else "disk"
        if fact.call in {"fd_write", "fd_pwrite"} and name in written:
            written[name] += fact.bytes_out
    for name, value in {**written, "host_calls": sum(fact.count for fact in run.facts)}.items():
        needs.used[name] = max(needs.used.get(name, 0), value)

"""Any sequence of calls under rules over time: the monitor decides what the plan says of what has started.

What has started is kept by a naive model here, which sees the guest's calls and what became of them; each
verdict is that of `policy.decide`. Single rules are tested in `test_monitor_over_time.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypedDict

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy.decide import Allow, Decision, Deny, WouldDeny, decide
from policy.plan import Plan, Right
from policy.plan_temporal import Trigger
from sandbox.monitor import layout
from tests.guests import Script, Slot
from tests.integration.test_monitor_denials import NAMES
from tests.integration.test_monitor_over_time import later, ruled, tell
from tests.machines import Record, run_watched
from tests.sequences import APPEND, CREAT, DIRECTORY, EXCL, READ, TRUNC, WRITE

NOTCAPABLE, NOENT = 76, 44
FILES = ("in/f", "in/g", "in/deep/h", "out/f", "out/no", "out/none")
FOLDERS = ("in", "in/deep", "out")
WATCHED = ("in", "in/deep", "in/f", "out", "out/f")


class Asked(TypedDict, total=False):
    """How a path is opened."""

    rights: int
    oflags: int
    fdflags: int


OPENINGS: dict[str, tuple[Asked, Right]] = {
    # the call's own words, and the rights that these ask for
    "read": ({"rights": READ}, Right.READ),
    "write": ({"rights": WRITE}, Right.WRITE),
    "both": ({"rights": READ | WRITE}, Right.READ | Right.WRITE),
    "append": ({"rights": WRITE, "fdflags": APPEND}, Right.APPEND),
    "cut": ({"rights": READ, "oflags": TRUNC}, Right.READ | Right.WRITE),
    "make": ({"rights": WRITE, "oflags": CREAT | EXCL}, Right.CREATE | Right.WRITE),
    "look": ({"rights": READ, "oflags": DIRECTORY}, Right(0)),
}
MOVES = ("rename", "link")
ON_A_PATH = ("unlink", "symlink", "times of a path")
ON_A_DESCRIPTOR = ("read", "write", "pwrite", "readdir", "times", "size", "tell", "close")
KINDS = ("open", "open", "open", "read", "write", *ON_A_DESCRIPTOR, *ON_A_PATH, "mkdir", "stat", *MOVES)
HAPPENINGS = {
    Trigger.OPENED: ("open", "readdir"),
    Trigger.BYTES_IN: ("read", "readdir"),
    Trigger.BYTES_OUT: ("write", "pwrite"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One call that the guest makes."""

    kind: str
    path: str
    path2: str
    how: str
    number: int

    @property
    def paths(self) -> tuple[str, ...]:
        """What it names; nothing when it is on a descriptor."""
        if self.kind in MOVES:
            return (self.path, self.path2)
        if self.kind in {"open", "stat"}:
            return (self.path2,)
        if self.kind == "mkdir":
            return (f"{self.path}.d",)
        return (self.path,) if self.kind in ON_A_PATH else ()


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(KINDS),
        st.sampled_from(FILES),
        st.sampled_from((*FILES, *FOLDERS)),
        st.sampled_from(sorted(OPENINGS)),
        st.integers(0, 9),
    ),
    min_size=12,
    max_size=40,
)
denied = st.lists(
    st.sampled_from(["storage", *(f"storage.{name}" for name in NAMES)]), min_size=1, max_size=3, unique=True
)


@dataclass(frozen=True, slots=True)
class Later:
    """A rule over time."""

    trigger: Trigger
    place: str
    over: int
    denied: list[str]

    def text(self, number: int) -> str:
        """As a document says it."""
        uri = f'"fs://ROOT/{self.place}"'
        when = {
            Trigger.OPENED: f"opened: {uri}",
            Trigger.BYTES_IN: f"bytes_in: {{from: {uri}, over: '{self.over}'}}",
            Trigger.BYTES_OUT: f"bytes_out: {{to: {uri}, over: '{self.over}'}}",
            Trigger.CALLS: f"calls: {{to: {uri}, over: {self.over}}}",
        }
        return later(when[self.trigger], deny=", ".join(self.denied), rule_id=f"later-{number}")

    def watches(self, path: str) -> bool:
        """Whether it is about this path."""
        return path == self.place or path.startswith(f"{self.place}/")


rules_over_time = st.lists(
    st.builds(Later, st.sampled_from(Trigger), st.sampled_from(WATCHED), st.integers(0, 4), denied),
    min_size=1,
    max_size=4,
)


@dataclass(frozen=True, slots=True)
class Held:
    """A descriptor that the guest has open."""

    path: str
    is_folder: bool
    only_appends: bool = False


@dataclass(slots=True)
class Naive:
    """Follows a run by its records, call by call: what has started, and what the plan says to the next call."""

    plan: Plan
    rules: list[Later]
    counts: dict[int, int] = field(default_factory=dict)
    started: set[int] = field(default_factory=set)
    held: dict[int, Held] = field(default_factory=lambda: {3: Held("", is_folder=True)})

    def decide(self, call: str, *paths: str, wants: Right | None = None) -> Decision:
        """What `policy.decide` says now."""
        target, target2, *_ = [*(f"/a/{path}" for path in paths), None]
        return decide(
            self.plan, call, target=target, target2=target2, wants=wants, started=frozenset(self.started)
        )

    def may(self, path: str, right: Right) -> bool:
        """Whether this right is there now."""
        return isinstance(self.decide("path_open", path, wants=right), Allow)

    def expected(self, step: Step, record: Record) -> Decision | None:
        """What is to be said about this call; None where nothing is asked of the plan."""
        if step.kind == "open":
            return self._opening(step, record)
        if step.kind == "stat":
            return self._stat(step.path2, record)
        if step.kind in MOVES:
            return self._moving(step, record)
        if step.paths:
            return self.decide(record.call, *step.paths)
        on = self.held.get(record.fd)
        return None if on is None else self._using(step.kind, on)

    def _opening(self, step: Step, record: Record) -> Decision:
        wants, path = OPENINGS[step.how][1], step.path2
        if step.how == "append" and (self.may(path, Right.WRITE) or not self.may(path, Right.APPEND)):
            wants = Right.WRITE
        if step.how == "read" and (path in FOLDERS or record.errno == NOENT):
            wants = Right(0)
        return self.decide("path_open", path, wants=wants)

    def _stat(self, path: str, record: Record) -> Decision:
        looks = self.decide("path_filestat_get", path)
        is_seen = path in FOLDERS or record.errno == NOENT or any(self.may(path, right) for right in Right)
        return (
            self.decide("path_open", path, wants=Right.READ)
            if isinstance(looks, Allow) and not is_seen
            else looks
        )

    def _moving(self, step: Step, record: Record) -> Decision:
        decided = self.decide(record.call, *step.paths)
        # whether something lies at the target and is lost, the record has to say
        is_lost = step.kind == "rename" and record.right == "delete" and not self.may(step.path2, Right.WRITE)
        return (
            self.decide("path_unlink_file", step.path2) if isinstance(decided, Allow) and is_lost else decided
        )

    def _using(self, kind: str, on: Held) -> Decision | None:
        if kind in {"close", "tell"}:
            return None
        if on.is_folder != (kind == "readdir") and kind not in {"times", "size"}:
            return None  # the host refuses that by itself
        if kind == "write" and on.only_appends:
            return self.decide("path_open", on.path, wants=Right.APPEND)
        right = {"read": Right.READ, "readdir": Right.LIST}.get(kind, Right.WRITE)
        return self.decide("path_open", on.path, wants=right)

    def follow(self, step: Step, record: Record) -> None:
        """Take note of what this call did."""
        on = self.held.get(record.fd)
        only_appends = step.how == "append" and step.kind == "open" and not self.may(step.path2, Right.WRITE)
        names = step.paths or (() if on is None else (on.path,))
        self._goes_on(Trigger.CALLS, names, 1)
        if record.errno:
            return
        for trigger, kinds in HAPPENINGS.items():
            if step.kind in kinds:
                self._goes_on(trigger, names, record.aux)
        if step.kind in MOVES:
            # a name was given to what has another: what watches only one of them starts
            one, other = step.paths[0], step.paths[-1]
            self.started |= {
                n for n, rule in enumerate(self.rules) if rule.watches(one) != rule.watches(other)
            }
        if step.kind == "open":
            self.held[record.fd2] = Held(step.path2, step.path2 in FOLDERS, only_appends)
        if step.kind == "close":
            del self.held[record.fd]

    def _goes_on(self, trigger: Trigger, names: tuple[str, ...], by: int) -> None:
        """Count what happened at `names`, and start what that brings over."""
        for number, rule in enumerate(self.rules):
            if rule.trigger is trigger and any(map(rule.watches, names)):
                self.counts[number] = self.counts.get(number, 0) + by
                if trigger is Trigger.OPENED or self.counts[number] > rule.over:
                    self.started.add(number)


def lay_out(s: Script, chosen: list[Step]) -> list[Step]:
    """Make the calls; gives the steps that made one, in order."""
    held: list[Slot] = []
    made: list[Step] = []
    acts: dict[str, Callable[[Slot, int], object]] = {
        "read": s.read,
        "write": lambda fd, n: s.write(fd, b"x" * n),
        "pwrite": lambda fd, n: s.pwrite(fd, b"x" * n, n),
        "readdir": lambda fd, n: s.readdir(fd, 64 * n),
        "times": lambda fd, _: s.call("fd_filestat_set_times", fd, 1, 1, 5),
        "size": lambda fd, n: s.call("fd_filestat_set_size", fd, n),
        "tell": lambda fd, _: tell(s, fd),
        "close": lambda fd, _: s.call("fd_close", fd),
    }
    named: dict[str, Callable[..., object]] = {
        "unlink": lambda path: s.on("path_unlink_file", path),
        "mkdir": lambda path: s.on("path_create_directory", path),
        "stat": s.stat,
        "times of a path": lambda path: s.call("path_filestat_set_times", 3, 0, *s.text(path), 1, 1, 5),
        "rename": s.rename,
        "link": s.link,
        "symlink": lambda path: s.symlink("/nowhere", path),
    }
    for step in chosen:
        if step.kind == "open":
            held.append(s.open(step.path2, **OPENINGS[step.how][0]))
        elif step.paths:
            named[step.kind](*step.paths)
        elif held:
            place = step.number % len(held)
            acts[step.kind](held.pop(place) if step.kind == "close" else held[place], step.number)
        else:
            continue
        made.append(step)
    return made


def is_foreseen(expected: Decision | None, record: Record) -> bool:
    """Whether the monitor did what the plan says; None where no right is asked for."""
    match expected:
        case Deny():
            found = (layout.Decision.DENY, expected.rule_id, NOTCAPABLE)
            return (record.decision, record.rule, record.errno) == found
        case WouldDeny():
            return (record.decision, record.rule) == (layout.Decision.WOULD_DENY, expected.rule_id)
        case _:
            return record.decision is layout.Decision.ALLOW


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules_over_time, steps, st.sampled_from(["enforce", "audit"]))
def test_any_sequence_is_decided_as_the_plan_says_of_what_has_started(tmp_path_factory, rules, chosen, mode):
    root = tmp_path_factory.mktemp("over-time") / "root"
    (root / "in/deep").mkdir(parents=True)
    (root / "out").mkdir()
    for name in FILES[:-1]:
        (root / name).write_bytes(b"content")
    plan = ruled(
        root,
        *(rule.text(number) for number, rule in enumerate(rules)),
        deny=[f'id: no, uri: "fs://{root}/out/no", access: [write, append]'],
        mode=mode,
    )
    script = Script()
    made = lay_out(script, chosen)
    result = run_watched(script, plan)
    assert len(result.records) == len(made)
    naive = Naive(plan, rules)
    for step, record in zip(made, result.records, strict=True):
        assert is_foreseen(naive.expected(step, record), record), repr((rules, made, step, record))
        naive.follow(step, record)

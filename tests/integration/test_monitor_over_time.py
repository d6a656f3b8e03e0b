"""Rules over time in a real guest: what starts one, what it refuses from then on, and what it leaves alone.

Each trigger has a twin that stops just short of it. How a document says such a rule is tested in
`tests/unit/test_policy_temporal.py`, what a plan says once one has started in `tests/unit/test_policy_decide.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy.decide import Allow, Deny, WouldDeny, decide
from policy.plan import Plan, Right
from policy.plan_temporal import Trigger
from sandbox.monitor.layout import Decision
from tests.guests import Script, Slot
from tests.integration.test_monitor_denials import ACTS, NAMES
from tests.machines import ALL, Record, Watched, run_watched, storage
from tests.sequences import APPEND, CREAT, DIRECTORY, EXCL, READ, TRUNC, WRITE, Builder

NOTCAPABLE, BADF, NOENT = 76, 8, 44


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with a file, folders, and a secret that rules watch."""
    folder = Path(tmp_path) / "root"
    for name in ("dir", "emptydir", "secret", "open"):
        (folder / name).mkdir(parents=True)
    for name in ("file", "other", "dir/inner", "secret/key", "open/file"):
        (folder / name).write_bytes(name.encode())
    (folder / "to_file").symlink_to("file")
    return folder


def later(when: str, *, deny: str = "storage", rule_id: str = "later") -> str:
    return f"  - {{id: {rule_id}, when: {{{when}}}, then: {{deny: [{deny}]}}}}"


def ruled(root: Path, *rules: str, deny: Sequence[str] = (), mode: str = "enforce", access: str = ALL) -> Plan:
    return storage(
        root,
        f'id: whole, uri: "fs://{root}/**", mount: /a, {access}',
        deny=deny,
        more="\n".join(("rules:", *rules)),
        mode=mode,
    )


def run(plan: Plan, *builders: Builder) -> Watched:
    script = Script()
    for build in builders:
        build(script)
    result = run_watched(script, plan)
    assert [one.errno for one in result.seen] == [record.errno for record in result.records]
    return result


def verdicts(result: Watched) -> list[tuple[str, str, str, str]]:
    return [record.verdict for record in result.records if record.decision is not Decision.ALLOW]


def removes(s: Script) -> None:
    """Something that no rule of these tests watches."""
    s.on("path_unlink_file", "other")


REMOVAL = [("deny", "later", "rule", "delete")]
SECRET = '"fs://ROOT/secret/**"'

# what starts the rule, and what stops just short of it
TRIGGERS: dict[str, tuple[str, Builder, Builder]] = {
    "opening": (f"opened: {SECRET}", lambda s: s.open("secret/key"), lambda s: s.open("file")),
    "opening to write": (f"opened: {SECRET}", lambda s: s.open("secret/key", rights=WRITE), lambda s: s.stat("secret/key")),
    "making": (f"opened: {SECRET}", lambda s: s.open("secret/new", oflags=CREAT), lambda s: s.open("secret/new")),
    "making anew": (f"opened: {SECRET}", lambda s: s.open("secret/new", oflags=CREAT | EXCL), lambda s: s.open("secret/key", oflags=CREAT | EXCL)),
    "opening the folder": (f"opened: {SECRET}", lambda s: s.open("secret", oflags=DIRECTORY), lambda s: s.open("dir", oflags=DIRECTORY)),
    "opening below a folder": ('opened: "fs://ROOT/secret/key"', lambda s: s.open("key", s.open("secret")), lambda s: s.open("inner", s.open("dir"))),
    "listing what was open from the start": ('opened: "fs://ROOT/**"', lambda s: s.readdir(3), lambda s: s.call("fd_fdstat_get", 3, s.out(24))),
    "renaming out of it": (f"opened: {SECRET}", lambda s: s.rename("secret/key", "key"), lambda s: s.rename("secret/key", "secret/k")),
    "renaming into it": (f"bytes_out: {{to: {SECRET}, over: 9k}}", lambda s: s.rename("file", "secret/f"), lambda s: s.rename("file", "f")),
    "linking out of it": (f"bytes_in: {{from: {SECRET}, over: 9k}}", lambda s: s.link("secret/key", "key"), lambda s: s.link("secret/key", "secret/k")),
    "linking into it": (f"calls: {{to: {SECRET}, over: 9}}", lambda s: s.link("file", "secret/f"), lambda s: s.link("file", "f")),
    "reading": (f"bytes_in: {{from: {SECRET}, over: \"4\"}}", lambda s: s.read(s.open("secret/key"), 5), lambda s: s.read(s.open("secret/key"), 4)),
    "reading twice": (f"bytes_in: {{from: {SECRET}, over: \"4\"}}", lambda s: (fd := s.open("secret/key"), s.read(fd, 4), s.read(fd, 1)), lambda s: (fd := s.open("secret/key"), s.read(fd, 4), s.read(fd, 0))),
    "reading at a place": (f"bytes_in: {{from: {SECRET}, over: \"4\"}}", lambda s: pread(s, s.open("secret/key"), 5), lambda s: pread(s, s.open("file"), 5)),
    "reading names": (f"bytes_in: {{from: {SECRET}, over: \"4\"}}", lambda s: s.readdir(s.open("secret")), lambda s: s.readdir(s.open("dir"))),
    "writing": (f"bytes_out: {{to: {SECRET}, over: \"3\"}}", lambda s: s.write(s.open("secret/key", rights=WRITE), b"four"), lambda s: s.write(s.open("secret/key", rights=WRITE), b"thr")),
    "writing at a place": (f"bytes_out: {{to: {SECRET}, over: \"3\"}}", lambda s: s.pwrite(s.open("secret/key", rights=WRITE), b"four", 9), lambda s: s.pwrite(s.open("file", rights=WRITE), b"four", 9)),
    "writing elsewhere": (f"bytes_out: {{to: {SECRET}, over: \"0\"}}", lambda s: s.write(s.open("secret/key", rights=WRITE), b"x"), lambda s: s.write(1, b"x")),
    "naming": (f"calls: {{to: {SECRET}, over: 2}}", lambda s: [s.stat("secret/key") for _ in range(3)], lambda s: [s.stat("secret/key") for _ in range(2)]),
    "naming what is not there": (f"calls: {{to: {SECRET}, over: 1}}", lambda s: [s.stat("secret/none") for _ in range(2)], lambda s: [s.stat("none") for _ in range(2)]),
    "using a descriptor": (f"calls: {{to: {SECRET}, over: 2}}", lambda s: (fd := s.open("secret/key"), tell(s, fd), s.call("fd_close", fd)), lambda s: (fd := s.open("file"), tell(s, fd), s.call("fd_close", fd))),
    "naming twice in one call": (f"calls: {{to: {SECRET}, over: 1}}", lambda s: [s.rename("secret/key", "secret/k"), s.stat("secret/k")], lambda s: s.rename("secret/key", "secret/k")),
    "naming by descriptor and path": (f"calls: {{to: {SECRET}, over: 2}}", lambda s: (fd := s.open("secret"), s.stat("key", fd), s.stat("key", fd)), lambda s: s.stat("key", s.open("secret"))),
    "naming at the second place": (f"calls: {{to: {SECRET}, over: 0}}", lambda s: s.rename("none", "secret/k"), lambda s: s.rename("none", "k")),
    "renumbering onto one": (f"calls: {{to: {SECRET}, over: 1}}", lambda s: s.call("fd_renumber", s.open("file"), s.open("secret/key")), lambda s: s.call("fd_renumber", s.open("file"), s.open("dir/inner"))),
    "making a link": (f"calls: {{to: {SECRET}, over: 0}}", lambda s: s.symlink("x", "secret/l"), lambda s: s.symlink("secret/key", "l")),
}  # fmt: skip


def pread(s: Script, fd: int | Slot, size: int) -> None:
    count, buffer = s.out(4), s.out(size)
    s.call("fd_pread", fd, *s.vectors((buffer, size)), 0, count)


def tell(s: Script, fd: int | Slot) -> None:
    s.call("fd_tell", fd, s.out(8))


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_rule_starts_with_the_call_that_brings_it_there_and_refuses_the_next(name, root):
    when, enough, _ = TRIGGERS[name]
    result = run(ruled(root, later(when)), enough, removes)
    assert verdicts(result) == REMOVAL
    assert result.seen[-1].errno == NOTCAPABLE
    assert (root / "other").exists()


@pytest.mark.parametrize("name", TRIGGERS)
def test_just_short_of_that_nothing_is_refused(name, root):
    when, _, short = TRIGGERS[name]
    result = run(ruled(root, later(when)), short, removes)
    assert verdicts(result) == []
    assert not (root / "other").exists()


def test_calls_that_were_refused_are_counted_too(root):
    plan = ruled(
        root,
        later(f"calls: {{to: {SECRET}, over: 1}}"),
        deny=[f'id: hide, uri: "fs://{root}/secret/**"'],
    )
    assert verdicts(run(plan, opening("secret/key"), opening("secret/key"), removes)) == [
        ("deny", "hide", "rule", "read"),
        ("deny", "hide", "rule", "read"),
        *REMOVAL,
    ]


def test_an_opening_that_was_refused_starts_nothing(root):
    plan = ruled(root, later(f"opened: {SECRET}"), deny=[f'id: hide, uri: "fs://{root}/secret/**"'])
    assert verdicts(run(plan, opening("secret/key"), removes)) == [("deny", "hide", "rule", "read")]


def test_a_descriptor_that_does_not_exist_names_nothing(root):
    plan = ruled(root, later('calls: {to: "fs://ROOT/**", over: 1}'))
    result = run(plan, lambda s: [tell(s, 99) for _ in range(3)], removes)
    assert verdicts(result) == []
    assert [one.errno for one in result.seen] == [BADF, BADF, BADF, 0]


def opening(name: str) -> Builder:
    return lambda s: s.open(name)


# --- what is refused from then on -------------------------------------------------------------------

PATHS = {name: act for name, act in ACTS.items() if "through a link" not in name}


@pytest.mark.parametrize("name", PATHS)
def test_each_right_that_a_rule_takes_away_is_missing_for_every_act(name, root):
    right, build = PATHS[name]
    plan = ruled(root, later(f"opened: {SECRET}", deny=f"storage.{right}"))
    starts = (lambda s: s.open("secret", oflags=DIRECTORY)) if right != "list" else opening("secret/key")
    result = run(plan, starts, build)
    assert verdicts(result) == [("deny", "later", "rule", right)]
    assert result.seen[-1].errno == NOTCAPABLE


@pytest.mark.parametrize("name", PATHS)
def test_the_same_act_is_allowed_when_the_rule_takes_away_other_rights(name, root):
    right, build = PATHS[name]
    others = {"write"} if right not in {"read", "write"} else {"list"}
    if "linking" in name or "write" in name or "making" in name or "opening to" in name:
        others = {"list"}
    plan = ruled(root, later(f"opened: {SECRET}", deny=f"storage.{others.pop()}"))
    if "writing" in name or "setting" in name or "cutting" in name:
        plan = ruled(root, later(f"opened: {SECRET}", deny="storage.list"))
    assert verdicts(run(plan, opening("secret/key"), build)) == []


def allocate(s: Script, fd: int | Slot) -> None:
    s.call("fd_allocate", fd, 0, 9)


ON_OPEN: dict[str, tuple[str, Callable[[Script, Slot], object]]] = {
    "reading": ("read", lambda s, fd: s.read(fd)),
    "reading at a place": ("read", lambda s, fd: pread(s, fd, 9)),
    "writing": ("write", lambda s, fd: s.write(fd, b"x")),
    "writing at a place": ("write", lambda s, fd: s.pwrite(fd, b"x", 0)),
    "setting the size": ("write", lambda s, fd: s.call("fd_filestat_set_size", fd, 0)),
    "setting times": ("write", lambda s, fd: s.call("fd_filestat_set_times", fd, 1, 1, 5)),
    "allocating": ("write", allocate),
}


@pytest.mark.parametrize("name", ON_OPEN)
@pytest.mark.parametrize("denied", ["storage", "storage.RIGHT"])
def test_a_descriptor_that_was_open_before_loses_the_right_as_well(name, denied, root):
    right, act = ON_OPEN[name]

    def build(s: Script, starting: str) -> None:
        file = s.open("file", rights=READ | WRITE)
        s.open(starting)
        act(s, file)

    plan = ruled(root, later(f"opened: {SECRET}", deny=denied.replace("RIGHT", right)))
    assert verdicts(run(plan, lambda s: build(s, "secret/key"))) == [("deny", "later", "rule", right)]
    assert (root / "file").read_bytes() == b"file"
    assert verdicts(run(plan, lambda s: build(s, "other"))) == []


def test_a_folder_that_was_open_before_is_not_listed_any_more(root):
    def build(s: Script, starting: str) -> None:
        folder = s.open("dir")
        s.open(starting)
        s.readdir(folder)
        s.readdir(3)

    plan = ruled(root, later(f"opened: {SECRET}", deny="storage.list"))
    assert verdicts(run(plan, lambda s: build(s, "secret/key"))) == [("deny", "later", "rule", "list")] * 2
    assert verdicts(run(plan, lambda s: build(s, "other"))) == []


def test_a_descriptor_that_only_appends_loses_append_and_no_other_right(root):
    def build(s: Script) -> None:
        file = s.open("file", rights=WRITE, fdflags=APPEND)
        s.open("secret/key")
        s.write(file, b"+")

    access = "access: [read, list, append]"
    for denied, expected in (
        ("append", [("deny", "later", "rule", "append")]),
        ("write", []),
    ):
        plan = ruled(root, later(f"opened: {SECRET}", deny=f"storage.{denied}"), access=access)
        assert verdicts(run(plan, build)) == expected
    assert (root / "file").read_bytes() == b"file+"


def test_where_write_is_gone_and_append_is_not_a_file_opens_to_append(root):
    def build(s: Script) -> None:
        s.open("secret/key")
        file = s.open("file", rights=WRITE, fdflags=APPEND)
        s.write(file, b"+")
        s.pwrite(file, b"X", 0)

    plan = ruled(root, later(f"opened: {SECRET}", deny="storage.write"))
    assert verdicts(run(plan, build)) == [("deny", "later", "rule", "write")]
    assert (root / "file").read_bytes() == b"file+"


def test_with_all_of_storage_gone_nothing_is_seen_and_what_takes_no_right_goes_on(root):
    def build(s: Script) -> None:
        file = s.open("file")
        s.open("secret/key")
        s.stat("dir")
        s.open("dir", oflags=DIRECTORY)
        tell(s, file)
        s.call("fd_filestat_get", file, s.out(64))
        s.write(1, b"out")
        s.call("fd_close", file)

    result = run(ruled(root, later(f"opened: {SECRET}")), build)
    assert verdicts(result) == [("deny", "later", "rule", "read")] * 2
    assert [one.errno for one in result.seen] == [0, 0, NOTCAPABLE, NOTCAPABLE, 0, 0, 0, 0]
    assert result.stdout == b"out"


def test_with_the_last_right_of_a_file_gone_it_is_not_seen_and_a_folder_is(root):
    def build(s: Script) -> None:
        s.open("secret", oflags=DIRECTORY)
        s.stat("file")
        s.stat("dir")
        s.open("dir", oflags=DIRECTORY)

    plan = ruled(root, later(f"opened: {SECRET}", deny="storage.read"), access="access: [read]")
    assert verdicts(run(plan, build)) == [("deny", "later", "rule", "read")]


def test_a_deny_rule_is_named_before_the_rule_over_time_and_the_default_after(root):
    (root / "x.pem").write_bytes(b"")
    plan = ruled(
        root,
        later(f"opened: {SECRET}"),
        deny=[f'id: hide, uri: "fs://{root}/dir/**", access: [read]'],
        access="access: [read, list, delete]",
    )

    def build(s: Script) -> None:
        s.open("secret/key")
        s.open("dir/inner")
        s.on("path_unlink_file", "dir/inner")
        s.on("path_create_directory", "new")

    assert verdicts(run(plan, build)) == [
        ("deny", "hide", "rule", "read"),
        ("deny", "later", "rule", "delete"),
        ("deny", "later", "rule", "create"),
    ]


def test_of_two_rules_that_take_a_right_the_first_of_the_document_is_named(root):
    plan = ruled(
        root,
        later('opened: "fs://ROOT/dir/**"', deny="storage.delete, storage.list", rule_id="first"),
        later(f"opened: {SECRET}", deny="storage.delete, storage.create", rule_id="second"),
    )
    ask: tuple[Builder, ...] = (
        removes,
        lambda s: s.on("path_create_directory", "new"),
        lambda s: s.readdir(3),
    )
    second = run(plan, opening("secret/key"), *ask[:2], opening("dir/inner"), *ask)
    assert [record.rule for record in second.records if record.decision is Decision.DENY] == [
        "second",
        "second",
        "first",
        "second",
        "first",
    ]


def test_rights_that_are_gone_still_count_against_a_move(root):
    """A rule that takes reading away must not make it possible to bring a file to where it may be read."""
    plan = storage(
        root,
        f'id: first, uri: "fs://{root}/dir/**", mount: /a, access: [list, delete]',
        f'id: second, uri: "fs://{root}/open/**", mount: /b, access: [read, list, create]',
        more="rules:\n" + later('opened: "fs://ROOT/open/**"', deny="storage.read"),
    )
    starts: Builder = lambda s: s.open("file", 4)  # noqa: E731  # one line, as its siblings
    moves: Builder = lambda s: s.rename("inner", "moved", 3, 4)  # noqa: E731
    assert verdicts(run(plan, starts, moves)) == [("deny", "no-widening", "widens", "")]


def test_what_is_lost_at_the_target_of_a_rename_takes_a_right_that_is_still_there(root):
    for denied, expected in (
        ("storage.write", []),
        ("storage.write, storage.delete", [("deny", "later", "rule", "delete")]),
    ):
        plan = storage(
            root,
            f'id: first, uri: "fs://{root}/dir/**", mount: /a, {ALL}',
            f'id: second, uri: "fs://{root}/open/**", mount: /b, {ALL}',
            more="rules:\n" + later('opened: "fs://ROOT/open/**"', deny=denied),
        )
        (root / "dir/inner").write_bytes(b"inner")
        result = run(plan, lambda s: s.open("file", 4), lambda s: s.rename("inner", "file", 3, 4))
        assert verdicts(result) == expected


def test_in_mode_audit_it_is_on_record_and_happens(root):
    plan = ruled(root, later(f"bytes_out: {{to: {SECRET}, over: \"0\"}}"), mode="audit")

    def build(s: Script) -> None:
        file = s.open("file", rights=READ | WRITE)
        s.write(s.open("secret/key", rights=WRITE), b"x")
        s.write(file, b"still")

    result = run(plan, build, removes)
    assert verdicts(result) == [
        ("would_deny", "later", "rule", "write"),
        ("would_deny", "later", "rule", "delete"),
    ]
    assert (root / "file").read_bytes() == b"still"
    assert not (root / "other").exists()


def test_in_mode_audit_what_another_rule_would_refuse_starts_a_rule(root):
    plan = ruled(
        root,
        later(f"opened: {SECRET}"),
        deny=[f'id: hide, uri: "fs://{root}/secret/**"'],
        mode="audit",
    )
    assert [one[1] for one in verdicts(run(plan, opening("secret/key"), removes))] == ["hide", "later"]


def test_a_rule_starts_by_whatever_mount_the_path_is_reached(root):
    plan = storage(
        root,
        f'id: outer, uri: "fs://{root}/**", mount: /a, {ALL}',
        f'id: inner, uri: "fs://{root}/secret/**", mount: /b, {ALL}',
        more="rules:\n" + later('opened: "fs://ROOT/secret/key"'),
    )
    assert verdicts(run(plan, lambda s: s.open("key", 4), removes)) == REMOVAL
    assert verdicts(run(plan, lambda s: s.open("file", 3), lambda s: s.open("none", 4))) == []


def test_a_link_does_not_lead_unseen_to_what_is_watched(root):
    (root / "to_key").symlink_to("secret/key")
    plan = ruled(root, later(f"opened: {SECRET}"))
    assert verdicts(run(plan, opening("to_key"))) == [("deny", "symlink", "symlink", "")]
    assert verdicts(run(plan, opening("file"))) == []


def test_a_rule_that_this_version_only_reads_starts_nothing(root):
    text = f'when: {{calls: {{to: "fs://{root}/secret/**", over: 0, window: 1h}}}}, then: {{deny: [storage]}}'
    for more, expected in ((text, []), (text.replace(", window: 1h", ""), REMOVAL)):
        plan = ruled(root, f"  - {{id: later, {more}}}", "when_unenforceable: warn")
        assert verdicts(run(plan, lambda s: s.stat("secret/key"), removes)) == expected


def test_all_the_rules_that_a_plan_can_hold_are_counted_each_by_itself(root):
    rules = [later(f"calls: {{to: {SECRET}, over: {40 - number}}}", rule_id=f"r{number:02}") for number in range(32)]
    plan = ruled(root, *rules)

    def build(s: Script) -> None:
        for _ in range(42):
            s.stat("secret/key")
            s.on("path_unlink_file", "dir/none")

    removals = run(plan, build).records[1::2]
    assert [record.rule for record in removals if record.decision is Decision.DENY] == [
        *(f"r{number:02}" for number in range(31, -1, -1)),
        "r00",
    ]


# --- any sequence -----------------------------------------------------------------------------------

FILES = ("in/f", "in/g", "in/deep/h", "out/f", "out/no", "out/none")
FOLDERS = ("in", "in/deep", "out")
WATCHED = ("in", "in/deep", "in/f", "out", "out/f")
ASKS = {
    # how a file is opened: the call's own words, and the rights that these ask for
    "read": ({"rights": READ}, Right.READ),
    "write": ({"rights": WRITE}, Right.WRITE),
    "both": ({"rights": READ | WRITE}, Right.READ | Right.WRITE),
    "append": ({"rights": WRITE, "fdflags": APPEND}, Right.APPEND),
    "cut": ({"rights": READ, "oflags": TRUNC}, Right.READ | Right.WRITE),
    "make": ({"rights": WRITE, "oflags": CREAT | EXCL}, Right.CREATE | Right.WRITE),
    "look": ({"rights": READ, "oflags": DIRECTORY}, Right(0)),
}
STEPS = ("open", "open", "open", "read", "read", "write", "write", "pwrite", "readdir", "times", "size", "tell", "close",
         "unlink", "mkdir", "stat", "times of a path", "rename", "link", "symlink")  # fmt: skip

steps = st.lists(
    st.tuples(
        st.sampled_from(STEPS),
        st.sampled_from(FILES),
        st.sampled_from((*FILES, *FOLDERS)),
        st.sampled_from(sorted(ASKS)),
        st.integers(0, 9),
    ),
    min_size=12,
    max_size=40,
)
rules_over_time = st.lists(
    st.tuples(
        st.sampled_from(list(Trigger)),
        st.sampled_from(WATCHED),
        st.integers(0, 4),
        st.lists(st.sampled_from(["storage", *(f"storage.{name}" for name in NAMES)]), min_size=1, max_size=3, unique=True),
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


def when(trigger: Trigger, place: str, over: int) -> str:
    uri = f'"fs://ROOT/{place}"'
    match trigger:
        case Trigger.OPENED:
            return f"opened: {uri}"
        case Trigger.BYTES_IN:
            return f'bytes_in: {{from: {uri}, over: "{over}"}}'
        case Trigger.BYTES_OUT:
            return f'bytes_out: {{to: {uri}, over: "{over}"}}'
        case Trigger.CALLS:
            return f"calls: {{to: {uri}, over: {over}}}"


@dataclass(frozen=True, slots=True)
class Held:
    """A descriptor that the guest has open."""

    path: str
    is_folder: bool
    only_appends: bool = False


MOUNT = Held("", is_folder=True)


@dataclass(slots=True)
class Naive:
    """Follows a run by its records, call by call: what has started, and what the plan says to the next call."""

    plan: Plan
    rules: list[tuple[Trigger, str, int, list[str]]]
    counts: list[int] = field(default_factory=list)
    started: set[int] = field(default_factory=set)
    held: dict[int, Held] = field(default_factory=lambda: {3: MOUNT})

    def __post_init__(self) -> None:
        self.counts = [0] * len(self.rules)

    def decide(self, call: str, *paths: str, wants: Right | None = None) -> Allow | Deny | WouldDeny:
        """What `policy.decide` says now."""
        first, second = (f"/a/{path}" for path in (*paths, "", "")[:2])
        target2 = second if len(paths) > 1 else None
        return decide(self.plan, call, target=first, target2=target2, wants=wants, started=frozenset(self.started))

    def may(self, path: str, right: Right) -> bool:
        return isinstance(self.decide("path_open", path, wants=right), Allow)

    def watches(self, number: int, path: str) -> bool:
        place = self.rules[number][1]
        return path == place or path.startswith(f"{place}/")

    def goes_on(self, trigger: Trigger, paths: tuple[str, ...], by: int) -> None:
        """Something happened at `paths`: count it, and start what it brings over."""
        for number, (kind, _, over, _) in enumerate(self.rules):
            if kind is trigger and any(self.watches(number, path) for path in paths):
                self.counts[number] += by
                if trigger is Trigger.OPENED or self.counts[number] > over:
                    self.started.add(number)

    def crosses(self, one: str, other: str) -> None:
        """A name was given to what has another: what watches only one of them starts."""
        self.started |= {
            number
            for number in range(len(self.rules))
            if self.watches(number, one) != self.watches(number, other)
        }

    def expected(self, step: tuple[str, str, str, str, int], record: Record) -> Allow | Deny | WouldDeny | None:
        """What is to be said about this call; None where nothing is asked of the plan."""
        kind, path, path2, how, _ = step
        on = self.held.get(record.fd)
        match kind:
            case "open":
                return self._opening(path2, how, record)
            case "unlink" | "symlink" | "times of a path":
                return self.decide(record.call, path)
            case "mkdir":
                return self.decide(record.call, f"{path}.d")
            case "stat":
                return self._stat(path2, record)
            case "rename" | "link":
                return self._moving(record, path, path2)
        if on is None or kind in {"close", "tell"}:
            return None
        if on.is_folder != (kind == "readdir") and kind not in {"times", "size"}:
            return None  # the host knows better
        if kind == "write" and on.only_appends:
            return self.decide("path_open", on.path, wants=Right.APPEND)
        right = {"read": Right.READ, "readdir": Right.LIST}.get(kind, Right.WRITE)
        return self.decide("path_open", on.path, wants=right)

    def _opening(self, path: str, how: str, record: Record) -> Allow | Deny | WouldDeny:
        wants = ASKS[how][1]
        if how == "append" and (self.may(path, Right.WRITE) or not self.may(path, Right.APPEND)):
            wants = Right.WRITE
        if how == "read" and (path in FOLDERS or record.errno == NOENT):
            wants = Right(0)
        return self.decide("path_open", path, wants=wants)

    def _stat(self, path: str, record: Record) -> Allow | Deny | WouldDeny:
        looks = self.decide("path_filestat_get", path)
        is_seen = path in FOLDERS or record.errno == NOENT or any(self.may(path, right) for right in Right)
        if isinstance(looks, Allow) and not is_seen:
            return self.decide("path_open", path, wants=Right.READ)
        return looks

    def _moving(self, record: Record, one: str, other: str) -> Allow | Deny | WouldDeny:
        decided = self.decide(record.call, one, other)
        if isinstance(decided, Allow) and record.call == "path_rename" and record.right == "delete":
            # what lies there is lost; whether something does, the record has to say
            if not self.may(other, Right.WRITE):
                return self.decide("path_unlink_file", other)
        return decided

    def follow(self, step: tuple[str, str, str, str, int], record: Record) -> None:
        """Take note of what this call did."""
        kind, path, path2, how, _ = step
        on = self.held.get(record.fd)
        happened = record.errno == 0
        only_appends = how == "append" and not self.may(path2, Right.WRITE)
        names: tuple[str, ...] = () if on is None else (on.path,)
        if kind in {"open", "stat"}:
            names = (path2,)
        elif kind in {"rename", "link"}:
            names = (path, path2)
        elif kind in {"unlink", "mkdir", "symlink", "times of a path"}:
            names = (f"{path}.d" if kind == "mkdir" else path,)
        self.goes_on(Trigger.CALLS, names, 1)
        if not happened:
            return
        if kind in {"open", "readdir"}:
            self.goes_on(Trigger.OPENED, names, 1)
        if kind in {"read", "readdir"}:
            self.goes_on(Trigger.BYTES_IN, names, record.aux)
        if kind in {"write", "pwrite"}:
            self.goes_on(Trigger.BYTES_OUT, names, record.aux)
        if kind in {"rename", "link"}:
            self.crosses(path, path2)
        if kind == "open":
            self.held[record.fd2] = Held(path2, path2 in FOLDERS, only_appends)
        if kind == "close":
            del self.held[record.fd]


def lay_out(s: Script, chosen: list[tuple[str, str, str, str, int]]) -> list[tuple[str, str, str, str, int]]:
    """Make the calls; gives the steps that made one, in order."""
    held: list[Slot] = []
    made: list[tuple[str, str, str, str, int]] = []
    acts: dict[str, Callable[[Slot | int, int], object]] = {
        "read": lambda fd, n: s.read(fd, n),
        "write": lambda fd, n: s.write(fd, b"x" * n),
        "pwrite": lambda fd, n: s.pwrite(fd, b"x" * n, n),
        "readdir": lambda fd, n: s.readdir(fd, 64 * n),
        "times": lambda fd, _: s.call("fd_filestat_set_times", fd, 1, 1, 5),
        "size": lambda fd, n: s.call("fd_filestat_set_size", fd, n),
        "tell": lambda fd, _: tell(s, fd),
        "close": lambda fd, _: s.call("fd_close", fd),
    }
    for step in chosen:
        kind, path, path2, how, number = step
        match kind:
            case "open":
                held.append(s.open(path2, **ASKS[how][0]))
            case "unlink":
                s.on("path_unlink_file", path)
            case "mkdir":
                s.on("path_create_directory", f"{path}.d")
            case "stat":
                s.stat(path2)
            case "times of a path":
                s.call("path_filestat_set_times", 3, 0, *s.text(path), 1, 1, 5)
            case "rename" | "link":
                (s.rename if kind == "rename" else s.link)(path, path2)
            case "symlink":
                s.symlink("/nowhere", path)
            case _ if held:
                fd = held.pop(number % len(held)) if kind == "close" else held[number % len(held)]
                acts[kind](fd, number)
            case _:
                continue
        made.append(step)
    return made


def is_foreseen(expected: Allow | Deny | WouldDeny | None, record: Record, is_audit: bool) -> bool:
    """Whether the monitor did what the plan says; None where no right is asked for."""
    if isinstance(expected, Deny):
        return record.decision is Decision.DENY and record.rule == expected.rule_id and record.errno == NOTCAPABLE
    if isinstance(expected, WouldDeny):
        return is_audit and record.decision is Decision.WOULD_DENY and record.rule == expected.rule_id
    return record.decision is Decision.ALLOW


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules_over_time, steps, st.sampled_from(["enforce", "audit"]))
def test_any_sequence_is_decided_as_the_plan_says_of_the_rules_that_a_naive_model_has_started(
    tmp_path_factory, rules, chosen, mode
):
    root = tmp_path_factory.mktemp("over-time") / "root"
    (root / "in/deep").mkdir(parents=True)
    (root / "out").mkdir()
    for name in FILES[:-1]:
        (root / name).write_bytes(b"content")
    plan = ruled(
        root,
        *(
            later(when(trigger, place, over), deny=", ".join(denied), rule_id=f"later-{number}")
            for number, (trigger, place, over, denied) in enumerate(rules)
        ),
        deny=[f'id: no, uri: "fs://{root}/out/no", access: [write, append]'],
        mode=mode,
    )
    script = Script()
    made = lay_out(script, chosen)
    result = run_watched(script, plan)
    assert len(result.records) == len(made)
    naive = Naive(plan, rules)
    for step, record in zip(made, result.records, strict=True):
        assert is_foreseen(naive.expected(step, record), record, mode == "audit"), repr((rules, made, step, record))
        naive.follow(step, record)

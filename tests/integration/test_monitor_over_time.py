"""Rules over time in a real guest: what starts one, what it refuses from then on, and what it leaves alone.

Each trigger has a twin that stops just short of it. How a document says such a rule is tested in
`tests/unit/test_policy_temporal.py`, and any sequence of calls tried in `test_monitor_over_time_agrees.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from policy.plan import Plan
from sandbox.monitor.layout import Decision
from tests.guests import Script, Slot
from tests.integration.test_monitor_denials import ACTS
from tests.machines import ALL, Watched, run_watched, storage
from tests.sequences import APPEND, CREAT, DIRECTORY, EXCL, READ, WRITE, Builder

NOTCAPABLE, BADF = 76, 8


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


def ruled(
    root: Path, *rules: str, deny: Sequence[str] = (), mode: str = "enforce", access: str = ALL
) -> Plan:
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


def pread(s: Script, fd: int | Slot, size: int) -> int:
    count, buffer = s.out(4), s.out(size)
    return s.call("fd_pread", fd, *s.vectors((buffer, size)), 0, count)


def tell(s: Script, fd: int | Slot) -> int:
    return s.call("fd_tell", fd, s.out(8))


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
    "reading": (f"bytes_in: {{from: {SECRET}, over: '4'}}", lambda s: s.read(s.open("secret/key"), 5), lambda s: s.read(s.open("secret/key"), 4)),
    "reading twice": (f"bytes_in: {{from: {SECRET}, over: '4'}}", lambda s: (fd := s.open("secret/key"), s.read(fd, 4), s.read(fd, 1)), lambda s: (fd := s.open("secret/key"), s.read(fd, 4), s.read(fd, 0))),
    "reading at a place": (f"bytes_in: {{from: {SECRET}, over: '4'}}", lambda s: pread(s, s.open("secret/key"), 5), lambda s: pread(s, s.open("file"), 5)),
    "reading names": (f"bytes_in: {{from: {SECRET}, over: '4'}}", lambda s: s.readdir(s.open("secret")), lambda s: s.readdir(s.open("dir"))),
    "writing": (f"bytes_out: {{to: {SECRET}, over: '3'}}", lambda s: s.write(s.open("secret/key", rights=WRITE), b"four"), lambda s: s.write(s.open("secret/key", rights=WRITE), b"thr")),
    "writing at a place": (f"bytes_out: {{to: {SECRET}, over: '3'}}", lambda s: s.pwrite(s.open("secret/key", rights=WRITE), b"four", 9), lambda s: s.pwrite(s.open("file", rights=WRITE), b"four", 9)),
    "writing elsewhere": (f"bytes_out: {{to: {SECRET}, over: '0'}}", lambda s: s.write(s.open("secret/key", rights=WRITE), b"x"), lambda s: s.write(1, b"x")),
    "naming": (f"calls: {{to: {SECRET}, over: 2}}", lambda s: [s.stat("secret/key") for _ in range(3)], lambda s: [s.stat("secret/key") for _ in range(2)]),
    "naming what is not there": (f"calls: {{to: {SECRET}, over: 1}}", lambda s: [s.stat("secret/none") for _ in range(2)], lambda s: [s.stat("none") for _ in range(2)]),
    "using a descriptor": (f"calls: {{to: {SECRET}, over: 2}}", lambda s: (fd := s.open("secret/key"), tell(s, fd), s.call("fd_close", fd)), lambda s: (fd := s.open("file"), tell(s, fd), s.call("fd_close", fd))),
    "naming twice in one call": (f"calls: {{to: {SECRET}, over: 1}}", lambda s: [s.rename("secret/key", "secret/k"), s.stat("secret/k")], lambda s: s.rename("secret/key", "secret/k")),
    "naming by descriptor and path": (f"calls: {{to: {SECRET}, over: 2}}", lambda s: (fd := s.open("secret"), s.stat("key", fd), s.stat("key", fd)), lambda s: s.stat("key", s.open("secret"))),
    "naming at the second place": (f"calls: {{to: {SECRET}, over: 0}}", lambda s: s.rename("none", "secret/k"), lambda s: s.rename("none", "k")),
    "renumbering onto one": (f"calls: {{to: {SECRET}, over: 1}}", lambda s: s.call("fd_renumber", s.open("file"), s.open("secret/key")), lambda s: s.call("fd_renumber", s.open("file"), s.open("dir/inner"))),
    "making a link": (f"calls: {{to: {SECRET}, over: 0}}", lambda s: s.symlink("x", "secret/l"), lambda s: s.symlink("secret/key", "l")),
}  # fmt: skip


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


def test_a_call_that_leads_out_of_a_watched_folder_is_made_on_its_descriptor(root):
    plan = ruled(root, later(f"calls: {{to: {SECRET}, over: 1}}"))
    leaves: Builder = lambda s: s.rename("x", "..", 3, s.open("secret"))  # noqa: E731  # one line, as its siblings
    elsewhere: Builder = lambda s: s.rename("x", "..", 3, s.open("dir"))  # noqa: E731
    escape = ("deny", "beneath", "escape", "")
    assert verdicts(run(plan, leaves, removes)) == [escape, *REMOVAL]
    assert verdicts(run(plan, elsewhere, removes)) == [escape]


def test_a_descriptor_that_does_not_exist_names_nothing(root):
    plan = ruled(root, later('calls: {to: "fs://ROOT/**", over: 1}'))
    result = run(plan, lambda s: [tell(s, 99) for _ in range(3)], removes)
    assert verdicts(result) == []
    assert [one.errno for one in result.seen] == [BADF, BADF, BADF, 0]


def opening(name: str, fd: int = 3) -> Builder:
    return lambda s: s.open(name, fd)


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
        s.open("file", rights=0)
        s.stat("dir")
        s.open("dir", oflags=DIRECTORY)

    plan = ruled(root, later(f"opened: {SECRET}", deny="storage.read"), access="access: [read]")
    assert verdicts(run(plan, build)) == [("deny", "later", "rule", "read")] * 2


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


def test_who_may_write_no_more_may_not_lose_what_lies_at_the_target_of_a_rename(root):
    moves: Builder = lambda s: s.rename("inner", "file", 3, 4)  # noqa: E731
    for starting, expected in (("none", []), ("file", [("deny", "default", "rule", "delete")])):
        (root / "dir/inner").write_bytes(b"inner")
        plan = storage(
            root,
            f'id: first, uri: "fs://{root}/dir/**", mount: /a, {ALL}',
            f'id: second, uri: "fs://{root}/open/**", mount: /b, access: [read, list, create, write]',
            more="rules:\n" + later('opened: "fs://ROOT/open/**"', deny="storage.write"),
        )
        assert verdicts(run(plan, opening(starting, 4), moves)) == expected
    assert (root / "open/file").read_bytes() == b"inner"
    assert (root / "dir/inner").exists()


def test_a_link_is_not_brought_to_where_no_link_may_be_made_any_more(root):
    plan = ruled(root, later(f"opened: {SECRET}", deny="storage.symlink"))
    moves: Builder = lambda s: s.rename("to_file", "dir/link")  # noqa: E731
    assert verdicts(run(plan, opening("secret/key"), moves)) == [("deny", "later", "rule", "symlink")]
    assert verdicts(run(plan, opening("file"), moves)) == []


def test_in_mode_audit_it_is_on_record_and_happens(root):
    plan = ruled(root, later(f'bytes_out: {{to: {SECRET}, over: "0"}}'), mode="audit")

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
    rules = [
        later(f"calls: {{to: {SECRET}, over: {40 - number}}}", rule_id=f"r{number:02}")
        for number in range(32)
    ]
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

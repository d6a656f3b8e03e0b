"""What the monitor refuses about files: each refusal has a twin that differs in one detail and is allowed.

Each test looks at three things: the errno that the guest saw, the record (decision, rule, reason, right), and the disk.
Clocks, streams, budgets and audit mode are in `test_monitor_limits.py`.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from policy.plan import RIGHTS
from tests.guests import Script, Seen
from tests.integration.test_monitor_differential import tree
from tests.machines import ALL, Record, Watched, run_watched, storage
from tests.sequences import APPEND, CREAT, DIRECTORY, EXCL, READ, TRUNC, WRITE, Builder

NOTCAPABLE, PERM, BADF, LOOP, NOENT = 76, 63, 8, 32, 44
NAMES = [str(right.name).lower() for right in RIGHTS]


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with a file, a folder, a link and a secret."""
    folder = Path(tmp_path) / "root"
    for name in ("dir", "emptydir", "secret", "open"):
        (folder / name).mkdir(parents=True)
    for name in ("file", "other", "dir/inner", "secret/key", "open/file"):
        (folder / name).write_bytes(name.encode())
    (folder / "to_file").symlink_to("file")
    return folder


def whole(root: Path, *rights: str) -> str:
    return f'id: whole, uri: "fs://{root}/**", mount: /a, access: [{", ".join(rights)}]'


def run(plan, build: Builder) -> Watched:
    script = Script()
    build(script)
    return run_watched(script, plan)


def last(result: Watched) -> tuple[Seen, Record]:
    assert len(result.seen) == len(result.records)
    assert result.seen[-1].errno == result.records[-1].errno
    return result.seen[-1], result.records[-1]


def refused(result: Watched, *verdict: str, errno: int = NOTCAPABLE, before: int = 0) -> None:
    """The last call was refused, and those before it (but for the first few) were not."""
    seen, record = last(result)
    assert (record.decision.name.lower(), record.rule, record.reason.name.lower(), record.right) == (
        "deny",
        *verdict,
    )
    assert seen.errno == errno
    assert [one.decision.name for one in result.records[before:-1] if one.decision.name != "ALLOW"] == []


def opening(name: str) -> Builder:
    """A guest that opens one path to read."""
    return lambda s: s.open(name)


def allowed(result: Watched, errno: int = 0) -> None:
    assert [record.verdict for record in result.records if record.decision.name != "ALLOW"] == []
    assert last(result)[0].errno == errno


# --- the seven rights -------------------------------------------------------------------------------

TO_WRITE = WRITE
ACTS: dict[str, tuple[str, Builder]] = {
    "opening to read": ("read", lambda s: s.open("file")),
    "opening to read and write": ("read", lambda s: s.open("file", rights=READ | WRITE)),
    "making a file to read, or opening it": ("read", lambda s: s.open("new", oflags=CREAT, rights=READ)),
    "making a file to read": ("read", lambda s: s.open("new", oflags=CREAT | EXCL, rights=READ)),
    "reading through a descriptor for writing": ("read", lambda s: s.read(s.open("file", rights=WRITE))),
    "reading a link": ("read", lambda s: s.readlink("to_file")),
    "listing": ("list", lambda s: s.readdir(3)),
    "listing below": ("list", lambda s: s.readdir(s.open("dir", oflags=DIRECTORY))),
    "making a directory": ("create", lambda s: s.on("path_create_directory", "new")),
    "making a file": ("create", lambda s: s.open("new", oflags=CREAT)),
    "making a file anew": ("create", lambda s: s.open("new", oflags=CREAT | EXCL)),
    "making a file to write": ("create", lambda s: s.open("new", oflags=CREAT | TRUNC, rights=WRITE)),
    "making a file through a link": ("create", lambda s: (s.on("path_unlink_file", "file"), s.open("to_file", oflags=CREAT))),
    "renaming to a new name": ("create", lambda s: s.rename("file", "new")),
    "linking to a new name": ("create", lambda s: s.link("file", "new")),
    "opening to write": ("write", lambda s: s.open("file", rights=WRITE)),
    "cutting": ("write", lambda s: s.open("file", oflags=TRUNC)),
    "cutting without rights": ("write", lambda s: s.open("file", oflags=TRUNC, rights=0)),
    "cutting what is appended to": ("write", lambda s: s.open("file", oflags=TRUNC, rights=WRITE, fdflags=APPEND)),
    "writing to what was made": ("write", lambda s: s.write(s.open("new", oflags=CREAT | EXCL), b"x")),
    "writing somewhere in what was made": ("write", lambda s: s.pwrite(s.open("new", oflags=CREAT | EXCL), b"x", 0)),
    "setting the size of what was made": ("write", lambda s: s.call("fd_filestat_set_size", s.open("new", oflags=CREAT | EXCL), 9)),
    "setting times of a path": ("write", lambda s: s.call("path_filestat_set_times", 3, 0, *s.text("file"), 1, 1, 5)),
    "setting times of a descriptor": ("write", lambda s: s.call("fd_filestat_set_times", s.open("file"), 1, 1, 5)),
    "setting times of the mount": ("write", lambda s: s.call("fd_filestat_set_times", 3, 1, 1, 5)),
    "linking from a file": ("write", lambda s: s.link("file", "new")),
    "removing a file": ("delete", lambda s: s.on("path_unlink_file", "file")),
    "removing a directory": ("delete", lambda s: s.on("path_remove_directory", "emptydir")),
    "renaming from a name": ("delete", lambda s: s.rename("file", "new")),
    "making a link": ("symlink", lambda s: s.symlink("file", "link")),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTS)
def test_an_act_without_its_right_is_refused_and_leaves_no_trace(name, root):
    right, build = ACTS[name]
    before = tree(root)
    refused(run(storage(root, whole(root, *(set(NAMES) - {right}))), build), "default", "rule", right)
    after = tree(root)
    touched = {"new", "file"} if "was made" in name or "through a link" in name else set()
    assert {key: value for key, value in after.items() if key not in touched} == {
        key: value for key, value in before.items() if key not in touched
    }
    assert after.get("new", (0, 0, 0))[2] == 0


@pytest.mark.parametrize("name", ACTS)
def test_the_same_act_with_its_right_is_allowed(name, root):
    # the host itself does not read through a descriptor that was opened to write
    allowed(
        run(storage(root, whole(root, *NAMES)), ACTS[name][1]),
        errno=BADF if name.startswith("reading through") else 0,
    )


def test_without_append_and_write_nothing_is_appended(root):
    rights = set(NAMES) - {"append", "write"}
    refused(
        run(storage(root, whole(root, *rights)), lambda s: s.open("file", rights=WRITE, fdflags=APPEND)),
        "default",
        "rule",
        "write",
    )


def append_only(root: Path):
    return storage(root, whole(root, "read", "list", "append"))


def test_who_may_append_writes_at_the_end_wherever_it_seeks(root):
    def build(s: Script) -> None:
        file = s.open("file", rights=READ | WRITE, fdflags=APPEND)
        s.call("fd_seek", file, 0, 0, s.out(8))
        s.write(file, b"+1")
        s.call("fd_fdstat_set_flags", file, APPEND)
        s.write(file, b"+2")

    allowed(run(append_only(root), build))
    assert (root / "file").read_bytes() == b"file+1+2"


APPENDED = {
    "opening to write": ("default", "rule", "write", lambda s, _: s.open("file", rights=WRITE)),
    "cutting": ("default", "rule", "write", lambda s, _: s.open("file", oflags=TRUNC, rights=WRITE, fdflags=APPEND)),
    "writing elsewhere": ("default", "rule", "write", lambda s, fd: s.pwrite(fd, b"X", 0)),
    "setting the size": ("default", "rule", "write", lambda s, fd: s.call("fd_filestat_set_size", fd, 1)),
    "setting times": ("default", "rule", "write", lambda s, fd: s.call("fd_filestat_set_times", fd, 1, 1, 5)),
    "clearing the flag": ("handle", "handle", "write", lambda s, fd: s.call("fd_fdstat_set_flags", fd, 0)),
    "clearing it with another flag": ("handle", "handle", "write", lambda s, fd: s.call("fd_fdstat_set_flags", fd, 16)),
}  # fmt: skip


@pytest.mark.parametrize("name", APPENDED)
def test_who_may_only_append_cannot_change_what_is_there(name, root):
    rule, reason, right, act = APPENDED[name]

    def build(s: Script) -> None:
        file = s.open("file", rights=READ | WRITE, fdflags=APPEND)
        act(s, file)

    refused(run(append_only(root), build), rule, reason, right)
    assert (root / "file").read_bytes() == b"file"
    allowed(
        run(storage(root, whole(root, "read", "append", "write")), build),
        errno=28 if "another" in name else 0,
    )


def test_a_renumbered_descriptor_still_only_appends(root):
    def build(s: Script) -> None:
        file, other = s.open("file", rights=WRITE, fdflags=APPEND), s.open("other")
        s.call("fd_renumber", file, other)
        s.write(other, b"+")
        s.pwrite(other, b"X", 0)

    refused(run(append_only(root), build), "default", "rule", "write")
    assert (root / "file").read_bytes() == b"file+"


def test_a_flag_that_is_set_later_gives_no_right(root):
    def build(s: Script) -> None:
        file = s.open("file", rights=READ)
        s.call("fd_fdstat_set_flags", file, APPEND)
        s.write(file, b"X")

    refused(run(append_only(root), build), "default", "rule", "write")


# --- two paths --------------------------------------------------------------------------------------


def two(root: Path, first: list[str], second: list[str]):
    """The folders `dir` and `open`, with rights of their own."""
    return storage(
        root,
        f'id: first, uri: "fs://{root}/dir/**", mount: /a, access: [{", ".join(first)}]',
        f'id: second, uri: "fs://{root}/open/**", mount: /b, access: [{", ".join(second)}]',
    )


RENAMES = (
    # rights where it is, rights where it goes, what is missing
    ("read delete", "read create", None),
    ("read", "read create", ("default", "rule", "delete")),
    ("read delete", "read", ("default", "rule", "create")),
    ("read delete", "read create write", ("no-widening", "widens", "")),
    ("read write delete", "read create write", None),
    ("list delete", "list create read", ("no-widening", "widens", "")),
    ("read append delete", "read create write", ("no-widening", "widens", "")),
    ("read write delete", "read create append", ("no-widening", "widens", "")),
    ("read write append delete", "read create append", None),
)  # fmt: skip


@pytest.mark.parametrize(("first", "second", "verdict"), RENAMES)
def test_a_rename_takes_delete_and_create_and_gives_no_right(first, second, verdict, root):
    result = run(two(root, first.split(), second.split()), lambda s: s.rename("inner", "moved", 3, 4))
    if verdict is None:
        allowed(result)
    else:
        refused(result, *verdict)
    assert (root / "open/moved").exists() == (verdict is None)
    assert (root / "dir/inner").exists() == (verdict is not None)


LINKS = (
    ("read write", "read write create", None),
    ("read", "read create", ("default", "rule", "write")),
    ("write", "create", ("default", "rule", "read")),
    ("read write", "read write", ("default", "rule", "create")),
    ("read write", "read write append create", ("no-widening", "widens", "")),
)  # fmt: skip


@pytest.mark.parametrize(("first", "second", "verdict"), LINKS)
def test_a_hard_link_takes_read_and_write_and_create_and_gives_no_right(first, second, verdict, root):
    result = run(two(root, first.split(), second.split()), lambda s: s.link("inner", "linked", 3, 4))
    if verdict is None:
        allowed(result)
    else:
        refused(result, *verdict)
    assert (root / "open/linked").exists() == (verdict is None)


@pytest.mark.parametrize("right", ["write", "delete"])
def test_a_rename_over_a_file_takes_a_right_to_destroy_it(right, root):
    first = ["read", "write", "append", "delete"]
    build = lambda s: s.rename("inner", "file", 3, 4)  # noqa: E731  # the same call three times
    refused(run(two(root, first, ["read", "create"]), build), "default", "rule", "delete")
    assert (root / "open/file").read_bytes() == b"open/file"
    allowed(run(two(root, first, ["read", "create", right]), build))
    assert (root / "open/file").read_bytes() == b"dir/inner"


def test_a_directory_moves_between_places_of_equal_rights_only(root):
    (root / "dir/sub").mkdir()
    build = lambda s: s.rename("sub", "sub", 3, 4)  # noqa: E731  # the same call twice
    refused(run(two(root, NAMES, sorted(set(NAMES) - {"append"})), build), "no-widening", "widens", "")
    assert (root / "dir/sub").exists()
    allowed(run(two(root, NAMES, NAMES), build))
    assert (root / "open/sub").exists()


def test_a_directory_with_something_denied_below_does_not_move(root):
    plan = storage(
        root,
        f'id: a, uri: "fs://{root}/**", mount: /a, {ALL}',
        deny=[f'id: no, uri: "fs://{root}/dir/inner"'],
    )
    refused(run(plan, lambda s: s.rename("dir", "moved")), "no-widening", "widens", "")
    assert (root / "dir/inner").exists()
    plan = storage(
        root, f'id: a, uri: "fs://{root}/**", mount: /a, {ALL}', deny=[f'id: no, uri: "fs://{root}/file"']
    )
    allowed(run(plan, lambda s: s.rename("dir", "moved")))


def test_a_link_is_not_moved_to_where_links_may_not_be_made(root):
    (root / "dir/link").symlink_to("inner")
    no_links = sorted(set(NAMES) - {"symlink"})
    for build in (lambda s: s.rename("link", "link", 3, 4), lambda s: s.link("link", "link", 3, 4)):
        refused(run(two(root, NAMES, no_links), build), "default", "rule", "symlink")
        assert not os.path.lexists(root / "open/link")
    allowed(run(two(root, NAMES, NAMES), lambda s: s.rename("link", "link", 3, 4)))
    assert (root / "open/link").is_symlink()


def test_a_descriptor_keeps_its_own_rights_when_its_file_moves(root):
    def build(s: Script) -> None:
        file = s.open("inner", 3, rights=READ)
        s.rename("inner", "moved", 3, 4)
        s.write(file, b"x")

    result = run(two(root, ["read", "delete"], ["read", "create"]), build)
    refused(result, "default", "rule", "write")


# --- which path -------------------------------------------------------------------------------------


def split(root: Path, rights: str = "read, list, create, write, append, delete, symlink"):
    """Everything but what lies in `secret`."""
    return storage(
        root,
        f'id: tree, uri: "fs://{root}/**", mount: /a, access: [{rights}]',
        deny=[f'id: hide, uri: "fs://{root}/secret/**"'],
    )


SPELLINGS = (
    "secret/key", "./secret/key", "secret//key", "secret/./key", "dir/../secret/key", "secret/../secret/key", "secret/key/.",
    "secret/key/", "emptydir/.././secret/key", "no/such/../../secret/key", "secret/sub/../key", "secret/sub/..//key",
)  # fmt: skip


@pytest.mark.parametrize("path", SPELLINGS)
@pytest.mark.parametrize(
    "call",
    ["open", "stat", "readlink", "unlink", "rename from", "rename to", "link", "symlink", "times", "mkdir"],
)
def test_a_denied_file_is_denied_however_it_is_spelt(path, call, root):
    acts: dict[str, Builder] = {
        "open": lambda s: s.open(path),
        "stat": lambda s: s.stat(path),
        "readlink": lambda s: s.readlink(path),
        "unlink": lambda s: s.on("path_unlink_file", path),
        "rename from": lambda s: s.rename(path, "new"),
        "rename to": lambda s: s.rename("file", path),
        "link": lambda s: s.link(path, "new"),
        "symlink": lambda s: s.symlink("x", path),
        "times": lambda s: s.call("path_filestat_set_times", 3, 1, *s.text(path), 1, 1, 5),
        "mkdir": lambda s: s.on("path_create_directory", path),
    }
    before = tree(root)
    seen, record = last(run(split(root), acts[call]))
    assert (seen.errno, record.decision.name, record.rule) == (NOTCAPABLE, "DENY", "hide")
    assert tree(root) == before


@pytest.mark.parametrize(
    "path",
    [
        "open/file",
        "./open//file",
        "dir/../open/file",
        "secret/../open/file",
        "secrets",
        "Secret/key",
        "secret2",
    ],
)
def test_a_path_that_only_looks_like_a_denied_one_is_not(path, root):
    for name in ("Secret", "secrets"):
        (root / name).mkdir()
    (root / "Secret/key").write_bytes(b"x")
    (root / "secret2").write_bytes(b"x")
    allowed(run(split(root), lambda s: s.open(path)))


def test_a_directory_descriptor_does_not_lose_what_is_denied_below_it(root):
    (root / "secret/sub").mkdir()

    def build(s: Script) -> None:
        top = s.open(".", oflags=DIRECTORY)
        s.stat("open/file", top)
        s.open("secret/key", top)

    refused(run(split(root), build), "hide", "rule", "read")
    refused(run(split(root), lambda s: s.open("secret", oflags=DIRECTORY)), "hide", "rule", "read")


def test_what_is_not_included_is_refused_and_what_is_excluded_too(root):
    rule = f'id: csv, uri: "fs://{root}/**", mount: /a, access: [read, list], include: ["**/*.csv"], exclude: ["**/no*.csv"]'
    for name in ("yes.csv", "no.csv", "yes.txt", "dir/deep.csv"):
        (root / name).write_bytes(b"x")
    plan = storage(root, rule)
    for name in ("yes.csv", "dir/deep.csv", "dir/../yes.csv"):
        allowed(run(plan, opening(name)))
    for name in ("no.csv", "yes.txt", "file", "dir/inner", "yes.csv/../file"):
        refused(run(plan, opening(name)), "default", "rule", "read")
    allowed(run(plan, lambda s: s.readdir(s.open("dir", oflags=DIRECTORY))))
    only_read = storage(root, rule.replace(", list", ""))
    refused(run(only_read, lambda s: s.stat("file")), "default", "rule", "read")
    allowed(run(only_read, lambda s: s.stat("dir")))


def test_a_grant_of_one_file_is_no_grant_of_its_neighbours(root):
    plan = storage(root, f'id: one, uri: "fs://{root}/file", mount: /a/file, access: [read, write]')
    allowed(run(plan, lambda s: s.read(s.open("file"))))
    allowed(run(plan, lambda s: s.write(s.open("file", rights=WRITE), b"new")))
    refused(run(plan, lambda s: s.open("other")), "default", "rule", "read")
    refused(run(plan, lambda s: s.open("to_file")), "default", "rule", "read")
    refused(run(plan, lambda s: s.readdir(3)), "default", "rule", "list")
    refused(run(plan, lambda s: s.on("path_unlink_file", "file")), "default", "rule", "delete")


def test_rights_of_one_mount_are_none_in_another(root):
    plan = two(root, ["read"], ["read", "write", "create"])
    allowed(run(plan, lambda s: s.open("file", 4, rights=WRITE)))
    refused(run(plan, lambda s: s.open("inner", 3, rights=WRITE)), "default", "rule", "write")
    refused(run(plan, lambda s: s.open("../dir/inner", 4)), "beneath", "escape", "", errno=PERM)


ESCAPES = (
    "..",
    "../x",
    "/",
    "/etc/passwd",
    "//",
    "dir/../..",
    "dir/../../root/file",
    "./..",
    "dir/./../../x",
    "/a/file",
)


@pytest.mark.parametrize("path", ESCAPES)
@pytest.mark.parametrize("is_split", [False, True])
def test_a_path_that_leads_out_is_refused(path, is_split, root):
    plan = split(root) if is_split else storage(root, whole(root, *NAMES))
    refused(run(plan, lambda s: s.open(path)), "beneath", "escape", "", errno=PERM)
    refused(run(plan, lambda s: s.rename("file", path)), "beneath", "escape", "", errno=PERM)
    refused(run(plan, lambda s: s.symlink("x", path)), "beneath", "escape", "", errno=PERM)
    allowed(run(plan, lambda s: s.open("dir/..", oflags=DIRECTORY)))


def test_a_path_of_4096_bytes_is_refused_and_one_of_4095_is_not(root):
    plan = storage(root, whole(root, *NAMES))
    refused(run(plan, lambda s: s.open("./" * 2_046 + "file")), "path-length", "too_long", "", errno=37)
    allowed(run(plan, lambda s: s.open("." + "/" * 4_090 + "file")))


# --- links ------------------------------------------------------------------------------------------

LINKED: dict[str, Builder] = {
    "opening": lambda s: s.open("way"),
    "opening to write": lambda s: s.open("way", rights=WRITE),
    "cutting": lambda s: s.open("way", oflags=TRUNC, rights=WRITE),
    "asking": lambda s: s.stat("way"),
    "setting times": lambda s: s.call("path_filestat_set_times", 3, 1, *s.text("way"), 1, 1, 5),
    "opening below": lambda s: s.open("by/key"),
    "asking below": lambda s: s.stat("by/key", follow=False),
    "opening as a directory": lambda s: s.open("by", oflags=DIRECTORY),
    "opening with a slash": lambda s: s.open("by/"),
    "making below": lambda s: s.open("by/new", oflags=CREAT, rights=WRITE),
    "making a directory below": lambda s: s.on("path_create_directory", "by/new"),
    "removing below": lambda s: s.on("path_unlink_file", "by/key"),
    "renaming from below": lambda s: s.rename("by/key", "new"),
    "renaming to below": lambda s: s.rename("file", "by/new"),
    "linking from below": lambda s: s.link("by/key", "new"),
    "linking to below": lambda s: s.link("file", "by/new"),
    "making a link below": lambda s: s.symlink("x", "by/new"),
    "reading a link below": lambda s: s.readlink("by/key"),
    "through two": lambda s: s.open("two/key"),
}  # fmt: skip


@pytest.mark.parametrize("name", LINKED)
def test_a_link_from_what_is_allowed_to_what_is_denied_is_not_followed(name, root):
    (root / "way").symlink_to("secret/key")
    (root / "by").symlink_to("secret")
    (root / "two").symlink_to("by")
    before = tree(root)
    refused(run(split(root), LINKED[name]), "symlink", "symlink", "")
    assert tree(root) == before


@pytest.mark.parametrize("name", LINKED)
def test_in_a_mount_that_no_rule_splits_the_same_links_are_followed(name, root):
    (root / "way").symlink_to("secret/key")
    (root / "by").symlink_to("secret")
    (root / "two").symlink_to("by")
    result = run(storage(root, whole(root, *NAMES)), LINKED[name])
    allowed(result, errno=28 if name == "reading a link below" else 0)


def test_a_link_that_the_guest_made_is_not_followed_either(root):
    def build(s: Script) -> None:
        s.symlink("secret/key", "mine")
        s.open("mine")

    refused(run(split(root), build), "symlink", "symlink", "")

    def swapped(s: Script) -> None:
        s.on("path_create_directory", "d")
        s.open("d", oflags=DIRECTORY)
        s.on("path_remove_directory", "d")
        s.symlink("secret", "d")
        s.open("d/key")

    refused(run(split(root), swapped), "symlink", "symlink", "")


def test_a_link_itself_may_be_looked_at_removed_and_moved(root):
    (root / "way").symlink_to("secret/key")

    def build(s: Script) -> None:
        s.stat("way", follow=False)
        s.readlink("way")
        s.rename("way", "way2")
        s.on("path_unlink_file", "way2")

    allowed(run(split(root), build))
    allowed(run(split(root), lambda s: s.open("to_file", follow=False)), errno=LOOP)


def test_a_missing_directory_on_the_way_is_missing_and_no_refusal(root):
    allowed(run(split(root), lambda s: s.open("nowhere/key")), errno=NOENT)
    allowed(run(split(root), lambda s: s.open("file/key")), errno=54)


def test_a_denied_file_does_not_come_out_by_moving_what_is_above_it(root):
    """Neither its folder, nor a descriptor of its folder, nor a hard link leads to another name for it."""
    for build in (
        lambda s: s.rename("secret", "open2"),
        lambda s: s.rename("secret/key", "key"),
        lambda s: s.link("secret/key", "key"),
        lambda s: s.open("secret", oflags=DIRECTORY),
        lambda s: s.rename(".", "open/x"),
    ):
        before = tree(root)
        seen, _ = last(run(split(root), build))
        assert seen.errno != 0
        assert tree(root) == before


# --- descriptors ------------------------------------------------------------------------------------


def test_a_closed_descriptor_is_none(root):
    def build(s: Script) -> None:
        file = s.open("file")
        s.call("fd_close", file)
        s.read(file)

    allowed(run(storage(root, whole(root, *NAMES)), build), errno=BADF)


def test_a_number_used_again_has_the_rights_of_the_new_file(root):
    def build(s: Script) -> None:
        s.call("fd_close", s.open("file", rights=READ | WRITE))
        again = s.open("other")
        s.read(again)
        s.write(again, b"x")

    plan = storage(
        root,
        f'id: rw, uri: "fs://{root}/**", mount: /a, access: [read, write], include: ["file"]',
        f'id: ro, uri: "fs://{root}/**", mount: /a, access: [read]',
    )
    result = run(plan, build)
    assert result.seen[0].window == result.seen[2].window
    refused(result, "default", "rule", "write")

    def renumbered(s: Script) -> None:
        good, bad = s.open("file", rights=READ | WRITE), s.open("other")
        s.call("fd_renumber", bad, good)
        s.write(good, b"x")

    refused(run(plan, renumbered), "default", "rule", "write")

    def other_way(s: Script) -> None:
        good, bad = s.open("file", rights=READ | WRITE), s.open("other")
        s.call("fd_renumber", good, bad)
        s.write(bad, b"x")

    allowed(run(plan, other_way))


def test_a_directory_in_place_of_a_mount_has_its_own_rules(root):
    def build(s: Script) -> None:
        folder = s.open("open", oflags=DIRECTORY)
        s.call("fd_renumber", folder, 3)
        s.open("key", 3)
        s.open("../secret/key", 3)

    refused(run(split(root), build), "beneath", "escape", "", errno=PERM)

    def deeper(s: Script) -> None:
        top = s.open(".", oflags=DIRECTORY)
        s.call("fd_renumber", top, 3)
        s.open("secret/key", 3)

    refused(run(split(root), deeper), "hide", "rule", "read")


def test_the_monitors_own_descriptors_are_not_the_guests(root):
    """On its way through a split mount the monitor opens directories: none stays open, none is named."""

    def build(s: Script) -> None:
        for path in ("dir/inner", "dir/missing", "to_file/x", "secret/x", "dir/inner/x", "to_file", "dir/"):
            s.open(path)
        for fd in range(4, 40):
            s.call("fd_fdstat_get", fd, s.out(24))

    result = run(split(root), build)
    opened = {int.from_bytes(one.window, "little") for one in result.seen[:7] if one.errno == 0}
    answers = {4 + place: one.errno for place, one in enumerate(result.seen[7:])}
    assert {fd for fd, errno in answers.items() if errno == 0} == opened
    assert sorted(opened) == list(range(4, 4 + len(opened)))


# --- what is no file --------------------------------------------------------------------------------


@pytest.mark.parametrize("is_split", [False, True])
@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_what_is_neither_file_nor_directory_is_not_opened(kind, is_split, root):
    (root / "regular").write_bytes(b"x")
    path = root / "special"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    else:
        os.mknod(path, 0o20666, os.makedev(1, 3))
    plan = split(root) if is_split else storage(root, whole(root, *NAMES))
    # a FIFO that is opened both ways does not wait for the other end
    seen, record = last(run(plan, lambda s: s.open("special", rights=READ | WRITE)))
    if kind == "socket":
        assert (seen.errno, record.decision.name) == (29, "ALLOW")  # the system does not open one at all
    else:
        assert seen.errno == NOTCAPABLE
        assert record.verdict == ("deny", "file-type", "file_type", "")
        assert seen.window == b"\xff\xff\xff\xff"
    allowed(run(plan, lambda s: s.open("regular", rights=READ | WRITE)))
    allowed(run(plan, lambda s: s.stat("special")))


@pytest.mark.parametrize("call", ["rename", "link"])
def test_nothing_special_is_brought_to_a_mount_whose_files_are_not_looked_at(call, root):
    os.mkfifo(root / "dir/fifo")
    (root / "dir/sub").mkdir()
    plan = two(root, NAMES, NAMES)

    def bring(name: str, plain: set[int]) -> Watched:
        script = Script()
        getattr(script, call)(name, name, 3, 4)
        return run_watched(script, plan, plain=frozenset(plain))

    refused(bring("fifo", {1}), "file-type", "file_type", "")
    assert not (root / "open/fifo").exists()
    if call == "rename":
        refused(bring("sub", {1}), "file-type", "file_type", "")
        allowed(bring("sub", {0, 1}))
    allowed(bring("inner", {1}))
    allowed(bring("fifo", set()))

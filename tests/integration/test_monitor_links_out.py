"""Links that lead out of a mount are refusals on record, and an allowed call names the rule that granted it.

The engine keeps a guest inside its directory by itself; without a look at why it refused, the record would say
that the call was allowed and went wrong.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guests import Script
from tests.machines import ALL, Watched, run_watched, storage
from tests.sequences import CREAT, READ, WRITE, Builder

PERM, NOTCAPABLE = 63, 76


@pytest.fixture
def root(tmp_path) -> Path:
    folder = Path(tmp_path) / "root"
    (folder / "dir").mkdir(parents=True)
    (folder / "file").write_bytes(b"file")
    (folder / "dir/inner").write_bytes(b"inner")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_bytes(b"outside")
    (folder / "absolute").symlink_to("/etc/passwd")
    (folder / "climbing").symlink_to("../outside/file")
    (folder / "out").symlink_to("../outside")
    (folder / "within").symlink_to("file")
    (folder / "in").symlink_to("dir")
    return folder


def run(plan, build: Builder) -> Watched:
    script = Script()
    build(script)
    return run_watched(script, plan)


def whole(root: Path) -> str:
    return f'id: whole, uri: "fs://{root}/**", mount: /a, {ALL}'


LEADS_OUT: dict[str, Builder] = {
    "open absolute": lambda s: s.open("absolute"),
    "open climbing": lambda s: s.open("climbing"),
    "open to write": lambda s: s.open("climbing", oflags=CREAT, rights=READ | WRITE),
    "open below": lambda s: s.open("out/file"),
    "stat": lambda s: s.stat("absolute"),
    "unlink below": lambda s: s.on("path_unlink_file", "out/file"),
    "make below": lambda s: s.on("path_create_directory", "out/new"),
    "rename out": lambda s: s.rename("file", "out/file"),
    "rename in": lambda s: s.rename("out/file", "new"),
    "link": lambda s: s.link("file", "out/new"),
}


@pytest.mark.parametrize("what", LEADS_OUT)
def test_what_a_link_leads_out_of_the_mount_is_refused_on_record(what, root):
    result = run(storage(root, whole(root)), LEADS_OUT[what])
    assert result.errnos == [PERM]
    assert result.records[-1].verdict == ("deny", "beneath", "escape", "")
    assert (root.parent / "outside/file").read_bytes() == b"outside"
    assert sorted(path.name for path in (root.parent / "outside").iterdir()) == ["file"]


@pytest.mark.parametrize("mode", ["enforce", "audit"])
def test_it_is_refused_in_every_mode(mode, root):
    result = run(storage(root, whole(root), mode=mode), LEADS_OUT["open absolute"])
    assert result.records[-1].verdict == ("deny", "beneath", "escape", "")


STAYS: dict[str, Builder] = {
    "open": lambda s: s.open("within"),
    "open below": lambda s: s.open("in/inner"),
    "stat": lambda s: s.stat("within"),
    "stat of the link itself": lambda s: s.stat("absolute", follow=False),
    "unlink of the link itself": lambda s: s.on("path_unlink_file", "absolute"),
    "rename of the link itself": lambda s: s.rename("absolute", "renamed"),
}


@pytest.mark.parametrize("what", STAYS)
def test_a_link_that_stays_inside_or_is_not_followed_is_allowed(what, root):
    result = run(storage(root, whole(root)), STAYS[what])
    assert result.errnos == [0]
    assert result.records[-1].decision.name == "ALLOW"


@pytest.mark.parametrize("name", ["absolute", "climbing", "within"])
def test_where_rules_split_the_mount_any_link_is_refused_as_one(name, root):
    plan = storage(root, whole(root), deny=['id: no, uri: "fs://ROOT/dir/**"'])
    result = run(plan, lambda s: s.open(name))
    assert (result.errnos, result.records[-1].verdict) == ([NOTCAPABLE], ("deny", "symlink", "symlink", ""))
    result = run(plan, lambda s: s.stat(name))
    assert (result.errnos, result.records[-1].verdict) == ([NOTCAPABLE], ("deny", "symlink", "symlink", ""))
    assert run(plan, lambda s: s.open("file")).errnos == [0]


def test_a_refusal_of_the_operating_system_is_not_called_one_of_ours(root):
    # a hard link to a directory: the kernel says no, and no link is involved
    result = run(storage(root, whole(root)), lambda s: s.link("dir", "again"))
    assert result.errnos == [PERM]
    assert result.records[-1].decision.name == "ALLOW"


def test_an_allowed_call_names_the_rule_that_granted_it(root):
    (root / "other").mkdir()
    rules = (
        'id: reading, uri: "fs://ROOT/**", mount: /a, access: [read, list]',
        'id: writing, uri: "fs://ROOT/**", mount: /a, access: [write, create]',
    )

    def build(s: Script) -> None:
        s.open("file")
        s.open("new", oflags=CREAT, rights=WRITE)
        s.write(5, b"x")
        s.on("path_create_directory", "made")

    result = run(storage(root, *rules), build)
    assert result.errnos == [0, 0, 0, 0]
    assert [record.rule for record in result.records] == ["reading", "writing", "writing", "writing"]

"""Links that lead out of a mount, or over a border between rules, whoever made them: none is a way.

Where no rule splits the mount, a link is followed and the engine stays beneath; where rules split it, none is followed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from audit.query import Row
from policy.plan import Plan
from tests.escape.guests import NOTCAPABLE, SECRET, Scene, play, tree
from tests.guests import Script
from tests.runs import exited
from tests.sequences import CREAT, DIRECTORY, EXCL, READ, TRUNC, WRITE

PERM, LOOP = 63, 32
GOALS = {
    "absolute": "/etc/passwd",
    "climbing": "../outside/secret",
    "climbing_far": "../" * 60 + "etc/passwd",
    "folder_out": "../outside",
    "root": "/",
    "proc_root": "/proc/self/root/etc/passwd",
    "proc_cwd": "/proc/self/cwd",
    "proc_fd": "/proc/self/fd/0",
    "proc_ring": "/proc/self/fd/5",
    "shared": "/dev/shm",
    "chained": "climbing",
    "chained_twice": "chained",
    "by_folder": "out_and_in/secret",
    "out_and_in": "dir/../../outside",
    "own_name": "/m/file",
}
"""Links that lead out, each with what it says; all are there before the run."""
WAYS: dict[str, Callable[[Script, str], object]] = {
    "open": lambda s, name: s.open(name),
    "open as a folder": lambda s, name: s.open(name, oflags=DIRECTORY),
    "open to write": lambda s, name: s.open(name, rights=WRITE),
    "make": lambda s, name: s.open(name, oflags=CREAT, rights=WRITE),
    "cut": lambda s, name: s.open(name, oflags=TRUNC, rights=WRITE),
    "stat": lambda s, name: s.stat(name),
    "times": lambda s, name: s.call("path_filestat_set_times", 3, 1, *s.text(name), 1, 1, 5),
    "open below": lambda s, name: s.open(f"{name}/secret"),
    "stat below": lambda s, name: s.stat(f"{name}/secret", follow=False),
    "make below": lambda s, name: s.open(f"{name}/made", oflags=CREAT | EXCL, rights=WRITE),
    "make a folder below": lambda s, name: s.on("path_create_directory", f"{name}/made"),
    "remove below": lambda s, name: s.on("path_unlink_file", f"{name}/secret"),
    "remove a folder below": lambda s, name: s.on("path_remove_directory", f"{name}/dir"),
    "rename out": lambda s, name: s.rename("file", f"{name}/made"),
    "rename in": lambda s, name: s.rename(f"{name}/secret", "made"),
    "link out": lambda s, name: s.link("file", f"{name}/made"),
    "link in": lambda s, name: s.link(f"{name}/secret", "made"),
    "make a link below": lambda s, name: s.symlink("x", f"{name}/made"),
    "read a link below": lambda s, name: s.readlink(f"{name}/secret"),
}
SPLIT = '      - {id: hide, uri: "fs://HIDDEN/**"}\n'


@pytest.fixture
def scene(tmp_path) -> Scene:
    return Scene.made(tmp_path / "scene")


def split(scene: Scene) -> Plan:
    return scene.granting(deny=SPLIT.replace("HIDDEN", str(scene.mount / "hidden")))


def attack(scene: Scene, log, plan: Plan) -> dict[tuple[str, str], Row]:
    """Go each way by each link; nothing may come of it."""
    for name, goal in GOALS.items():
        (scene.mount / name).symlink_to(goal)
    (scene.mount / "hidden").mkdir()
    before = tree(scene.top)
    script = Script()
    tries = [(way, name) for way in WAYS for name in GOALS]
    for way, name in tries:
        WAYS[way](script, name)
    played = play(log, plan, script)
    assert played.execution.receipt.outcome == exited()
    assert tree(scene.top) == before
    assert SECRET not in played.execution.stdout
    found = dict(zip(tries, played.rows, strict=True))
    assert [tried for tried, row in found.items() if row["errno"] == 0] == []
    return found


def test_links_that_were_there_lead_nobody_out(scene, log):
    for tried, row in attack(scene, log, scene.granting()).items():
        # where no link is on the way, a call may fail by itself, as that of a folder that is no file does
        refused = ("deny", "beneath", "escape") if row["errno"] == PERM else ("allow", row["rule_id"], None)
        assert (row["decision"], row["rule_id"], row["reason"]) == refused, tried


def test_where_rules_split_a_mount_no_link_is_followed(scene, log):
    for tried, row in attack(scene, log, split(scene)).items():
        found = (row["errno"], row["decision"], row["rule_id"], row["reason"])
        assert found == (NOTCAPABLE, "deny", "symlink", "symlink"), tried


def test_links_that_stay_within_are_followed_and_links_themselves_are_looked_at(scene, log):
    for name, goal in {"near": "file", "in": "dir", "up": "dir/../file", "far": "in/inner"}.items():
        (scene.mount / name).symlink_to(goal)
    (scene.mount / "climbing").symlink_to("../outside/secret")
    script = Script()
    for name in ("near", "up", "far", "in/inner"):
        script.read(script.open(name))
    script.stat("climbing", follow=False)
    script.readlink("climbing")
    script.rename("climbing", "moved")
    script.on("path_unlink_file", "moved")
    played = play(log, scene.granting(), script)
    assert played.errnos == [0] * 12
    assert set(played.decisions) == {"allow"}
    assert [seen.window[8:12] for seen in played.seen[1:8:2]] == [b"file", b"file", b"inne", b"inne"]


# --- links that the guest makes ---------------------------------------------------------------------------


def making(goal: str) -> Script:
    """Make a link, and use it in each way that follows one."""
    script = Script()
    script.symlink(goal, "link")
    script.open("link")
    script.open("link", rights=WRITE, oflags=TRUNC)
    script.stat("link")
    script.symlink("link", "again")
    script.open("again")
    return script


@pytest.mark.parametrize("goal", ["../outside/secret", "dir/../../outside/secret", "../" * 40 + "etc/passwd"])
def test_a_link_that_the_guest_makes_leads_it_nowhere_else(goal, scene, log):
    played = play(log, scene.granting(), making(goal))
    assert played.errnos == [0, PERM, PERM, PERM, 0, PERM]
    assert [rule for rule in played.rules if rule != "mine"] == ["beneath"] * 4
    assert (scene.outside / "secret").read_bytes() == SECRET


@pytest.mark.parametrize("goal", ["/etc/passwd", "/proc/self/environ", "/m/file"])
def test_a_link_to_an_absolute_path_is_not_made(goal, scene, log):
    played = play(log, scene.granting(), making(goal))
    assert played.errnos[:2] == [PERM, 44]
    assert not (scene.mount / "link").is_symlink()


def test_a_link_that_the_guest_makes_within_is_followed(scene, log):
    played = play(log, scene.granting(), making("dir/../file"))
    assert played.errnos == [0] * 6
    assert set(played.decisions) == {"allow"}


def test_a_link_in_place_of_a_folder_that_is_open_changes_nothing_about_the_folder(scene, log):
    script = Script()
    script.on("path_create_directory", "d")
    folder = script.open("d", oflags=DIRECTORY)
    script.on("path_remove_directory", "d")
    script.symlink("../outside", "d")
    script.open("secret", folder)
    script.open("../secret", folder)
    script.open("d/secret")
    script.readdir(folder)
    played = play(log, scene.granting(), script)
    assert played.errnos[:4] == [0] * 4
    assert 0 not in played.errnos[4:7]
    assert played.rules[5:7] == ["beneath", "beneath"]
    assert b"secret" not in played.seen[7].window


def test_a_folder_that_is_moved_while_it_is_open_is_no_way_up(scene, log):
    """A descriptor two folders deep, which then lies one deep: `..` is refused by counting, not by looking."""
    script = Script()
    script.on("path_create_directory", "dir/deep")
    folder = script.open("dir/deep", oflags=DIRECTORY)
    script.rename("dir/deep", "deep")
    script.open("../outside/secret", folder)
    script.open("../../outside/secret", folder)
    script.open("../file", folder)
    script.write(script.open("made", folder, oflags=CREAT, rights=WRITE), b"x")
    played = play(log, scene.granting(), script)
    assert played.errnos[:3] == [0, 0, 0]
    assert played.rules[3:6] == ["beneath"] * 3
    assert played.errnos[6:] == [0, 0]
    assert (scene.mount / "deep/made").read_bytes() == b"x"


def test_a_loop_of_links_ends(scene, log):
    script = Script()
    for name, goal in (("a", "b"), ("b", "a"), ("self", "self"), ("deep", "deep/deep/deep")):
        script.symlink(goal, name)
    for name in ("a", "self", "deep", "a/x", "self/../file"):
        script.open(name)
        script.stat(name)
    played = play(log, scene.granting(), script)
    assert played.errnos == [0] * 4 + [LOOP] * 10
    assert played.execution.receipt.outcome == exited()


# --- borders between rules --------------------------------------------------------------------------------


def two(scene: Scene) -> Plan:
    """Most may be read and changed; in `hidden` nothing, in `only` things may be put and not read."""
    deny = SPLIT.replace("HIDDEN", str(scene.mount / "hidden"))
    deny += f'      - {{id: blind, uri: "fs://{scene.mount}/only/**", access: [read]}}\n'
    return scene.granting(deny=deny)


def test_no_name_carries_a_file_over_a_border_into_more_rights(scene, log):
    for name in ("hidden", "only"):
        (scene.mount / name).mkdir()
        (scene.mount / name / "key").write_bytes(SECRET)
    before = tree(scene.top)
    script = Script()
    for source in ("hidden/key", "only/key", "hidden", "only"):
        script.link(source, "taken")
        script.rename(source, "taken")
        script.rename(source, "dir/taken")
    script.open("hidden", oflags=DIRECTORY)
    script.rename("dir", "hidden")
    script.link("file", "hidden/file")
    played = play(log, two(scene), script)
    assert 0 not in played.errnos
    assert {row["rule_id"] for row in played.rows if row["decision"] == "deny"} <= {
        "hide", "blind", "no-widening", "default",
    }  # fmt: skip
    assert played.decisions.count("deny") >= len(played.rows) - 2
    assert tree(scene.top) == before


def test_within_a_border_names_move(scene, log):
    for name in ("hidden", "only"):
        (scene.mount / name).mkdir()
    script = Script()
    script.link("file", "dir/linked")
    script.rename("dir/linked", "moved")
    script.on("path_create_directory", "new")
    script.rename("new", "dir/new")
    script.rename("file", "only/file")
    played = play(log, two(scene), script)
    assert played.errnos == [0] * 5
    assert (scene.mount / "only/file").read_bytes() == b"file"


def test_of_two_names_of_one_file_each_has_the_rights_of_its_place(scene, log):
    """A hard link that was there before: the rules are about names, and the page on paths says so."""
    (scene.mount / "hidden").mkdir()
    (scene.mount / "hidden/key").write_bytes(SECRET)
    (scene.mount / "also").hardlink_to(scene.mount / "hidden/key")
    script = Script()
    script.read(script.open("also"))
    script.open("hidden/key", rights=READ)
    played = play(log, split(scene), script)
    assert played.errnos == [0, 0, NOTCAPABLE]
    assert played.rules[2] == "hide"

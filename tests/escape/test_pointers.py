"""Pointers and lengths that lie outside the memory of the guest, or on top of each other, in every call that takes any.

A pointer outside ends the guest, as it does without the monitor, and the call is on record: as one that never
returned. What lies on top of each other changes nothing about what was judged.
"""

from __future__ import annotations

import struct

import pytest

from audit.receipt import OutcomeKind
from policy.calls import CALLS
from tests.escape.guests import SECRET, Scene, play, tree
from tests.guests import DATA_END, END_OF_MEMORY, Script
from tests.runs import exited
from tests.sequences import CREAT, READ, WRITE

NEVER = -1  # an errno: the call did not return
HIGHEST = 0xFFFF_FFFF
WRAPS = 0xFFFF_FFF0  # with a length of 32, its end is in the guest's memory again
EDGE = END_OF_MEMORY - 8  # the last bytes of the memory
PLACES = {
    "the highest address": (HIGHEST, 32),
    "an end that comes round": (WRAPS, 32),
    "just behind the memory": (END_OF_MEMORY, 1),
    "over the end": (EDGE, 32),
    "a length that comes round": (64, HIGHEST),
}
# what is written to, or read from, at a place of so many bytes: `P` and `N`; `T` is a good path, `V` a good vector
WITH_LENGTH: dict[str, tuple[int | str, ...]] = {
    "fd_readdir": (3, "P", "N", 0, 64),
    "fd_prestat_dir_name": (3, "P", "N"),
    "path_create_directory": (3, "P", "N"),
    "path_filestat_get": (3, 0, "P", "N", 64),
    "path_filestat_set_times": (3, 0, "P", "N", 1, 1, 5),
    "path_link": (3, 0, "P", "N", 3, "T"),
    "path_link to": (3, 0, "T", 3, "P", "N"),
    "path_open": (3, 1, "P", "N", CREAT, WRITE, 0, 0, 64),
    "path_readlink": (3, "P", "N", 64, 8, 128),
    "path_remove_directory": (3, "P", "N"),
    "path_rename": (3, "P", "N", 3, "T"),
    "path_rename to": (3, "T", 3, "P", "N"),
    "path_symlink": ("P", "N", 3, "T"),
    "path_symlink at": ("T", 3, "P", "N"),
    "path_unlink_file": (3, "P", "N"),
    "random_get": ("P", "N"),
}
# results, of which only the address can be wrong
RESULTS: dict[str, tuple[int | str, ...]] = {
    "args_get": ("P", 64),
    "args_sizes_get": ("P", 64),
    "clock_res_get": (0, "P"),
    "clock_time_get": (0, 0, "P"),
    "environ_sizes_get": (64, "P"),
    "fd_fdstat_get": (3, "P"),
    "fd_filestat_get": (3, "P"),
    "fd_prestat_get": (3, "P"),
    "fd_read": (0, "P", 1, 64),
    "fd_readdir": (3, 64, 64, 0, "P"),
    "fd_write": (1, "P", 1, 64),
    "path_filestat_get": (3, 0, "T", "P"),
    "poll_oneoff": ("P", 64, 1, 64),
}


@pytest.fixture
def scene(tmp_path) -> Scene:
    return Scene.made(tmp_path / "scene")


def add(script: Script, name: str, arguments: tuple[int | str, ...], place: tuple[int, int]) -> None:
    """A call with this place and length."""
    given: list[int] = []
    for argument in arguments:
        match argument:
            case "P" | "N":
                given.append(place["PN".index(argument)])
            case "T":
                given += script.text("file")
            case int():
                given.append(argument)
            case str():
                raise ValueError(argument)
    script.call(name.partition(" ")[0], *given)


def attack(name: str, arguments: tuple[int | str, ...], place: tuple[int, int]) -> Script:
    """One call with a bad place, between two that are good."""
    script = Script()
    script.stat("file")
    add(script, name, arguments, place)
    script.on("path_create_directory", "after")
    return script


def check_ended(scene: Scene, log, script: Script) -> None:
    """The call is the last on record, did nothing, and the guest is over."""
    before = tree(scene.top)
    played = play(log, scene.granting(), script)
    assert played.execution.receipt.outcome.kind is OutcomeKind.TRAPPED
    assert [row["errno"] for row in played.rows] == [0, NEVER]
    assert str(played.rows[-1]["call"]).endswith(script.calls[1].name)
    assert tree(scene.top) == before


ENDS: list[tuple[str, tuple[int | str, ...], str]] = [
    (name, WITH_LENGTH[name], "the highest address") for name in WITH_LENGTH
]
ENDS += [(name, RESULTS[name], "just behind the memory") for name in RESULTS]
# the same is done about each text, and about each buffer: one of each kind
ENDS += [(name, WITH_LENGTH[name], place) for place in PLACES for name in ("path_open", "random_get")]
# the host writes what there is, and looks at no more of the place that it is given
_NEEDS_LESS = ("fd_prestat_dir_name", "fd_readdir")
MORE = [
    (name, arguments, place)
    for kind in (WITH_LENGTH, RESULTS)
    for name, arguments in kind.items()
    for place in PLACES
    if (name, arguments, place) not in ENDS
    and (kind is WITH_LENGTH or place in {"the highest address", "an end that comes round"})
    and (name not in _NEEDS_LESS or place in {"the highest address", "an end that comes round"})
]


@pytest.mark.parametrize(("name", "arguments", "place"), ENDS)
def test_a_place_outside_the_memory_ends_the_guest_and_is_on_record(name, arguments, place, scene, log):
    check_ended(scene, log, attack(name, arguments, PLACES[place]))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arguments", "place"), MORE)
def test_any_place_outside_the_memory_ends_the_guest_and_is_on_record(name, arguments, place, scene, log):
    check_ended(scene, log, attack(name, arguments, PLACES[place]))


def test_the_same_calls_with_a_place_in_the_memory_return(scene, log):
    script = Script()
    for number, (name, arguments) in enumerate((*WITH_LENGTH.items(), *RESULTS.items()), 1):
        if name != "poll_oneoff":  # which wants to know what to wait for
            add(script, name, arguments, (DATA_END - 256 * number, 4))
    played = play(log, scene.granting(), script)
    assert played.execution.receipt.outcome == exited()
    assert len(played.rows) == len(WITH_LENGTH) + len(RESULTS) - 1
    assert NEVER not in {row["errno"] for row in played.rows}
    assert {row["decision"] for row in played.rows} == {"allow"}


def test_a_list_of_buffers_that_lies_outside_or_leads_there_ends_the_guest(scene, log):
    for base, count, entry in (
        (END_OF_MEMORY, 1, b""),
        (HIGHEST - 7, 2, b""),
        (64, 1, struct.pack("<II", HIGHEST, 32)),
        (64, 1, struct.pack("<II", WRAPS, 32)),
        (64, 1, struct.pack("<II", END_OF_MEMORY - 4, 8)),
    ):
        script = Script()
        script.put(entry.ljust(64, b"\0"))
        script.stat("file")
        script.call("fd_read", script.open("file"), base, count, script.out(4))
        played = play(log, scene.granting(), script)
        assert played.execution.receipt.outcome.kind is OutcomeKind.TRAPPED, (base, count)
        assert [row["errno"] for row in played.rows] == [0, 0, NEVER]


def test_a_count_that_comes_round_counts_what_is_written(scene, log):
    """8 bytes an entry: of 2^29 entries and one more, the size in 32 bits is that of one."""
    for count in (1, (1 << 29) + 1, HIGHEST):
        script = Script()
        file = script.open("made", oflags=CREAT, rights=WRITE)
        entry, _ = script.vectors((script.put(b"x" * 10), 10))
        for fd in (file, 1):
            result = script.out(4, 4)
            script.call("fd_write", fd, entry, count, result, window=(result, 4))
        played = play(log, scene.granting(more=", max_bytes: 10"), script)
        written = (scene.mount / "made").read_bytes()
        assert played.rows[1]["bytes_out"] == len(written)
        assert written in ({b"x" * 10} if count == 1 else {b"", b"x" * 10})
        (scene.mount / "made").unlink()


# --- an effect, and no place for its result ---------------------------------------------------------------


def test_what_was_done_is_on_record_also_when_its_result_has_no_place(scene, log):
    script = Script()
    script.call("path_open", 3, 1, *script.text("made"), CREAT, WRITE, 0, 0, END_OF_MEMORY)
    made = play(log, scene.granting(), script)
    assert made.execution.receipt.outcome.kind is OutcomeKind.TRAPPED
    assert [(row["target"], row["errno"], row["decision"]) for row in made.rows] == [
        (f"{scene.mount}/made", NEVER, "allow")
    ]
    assert (scene.mount / "made").exists()
    script = Script()
    script.call(
        "fd_write", script.open("file", rights=WRITE), *script.vectors(script.text("FILE")), END_OF_MEMORY
    )
    wrote = play(log, scene.granting(), script)
    assert [row["errno"] for row in wrote.rows] == [0, NEVER]
    assert wrote.rows[1]["target"] == f"{scene.mount}/file"
    refused = Script()
    refused.call("path_open", 3, 1, *refused.text("../made"), CREAT, WRITE, 0, 0, END_OF_MEMORY)
    played = play(log, scene.granting(), refused)
    assert [row["decision"] for row in played.rows] == ["deny"]
    assert not (scene.top / "made").exists()


# --- on top of each other ---------------------------------------------------------------------------------


def test_a_result_on_top_of_the_path_changes_nothing_about_what_was_judged(scene, log):
    script = Script()
    at = script.put(b"file\0\0\0\0", 8)
    script.call("path_open", 3, 1, at, 4, 0, READ, 0, 0, at, window=(at, 4))
    again = script.put(b"file".ljust(64, b"\0"), 8)
    script.call("path_filestat_get", 3, 1, again, 4, again)
    link = script.put(b"link\0\0\0\0", 8)
    script.symlink("../outside/secret", "link")
    script.call("path_readlink", 3, link, 4, link, 4, link + 4, window=(link, 4))
    script.open(b"../o")  # what the link says, up to there
    script.call("path_open", 3, 1, link, 4, 0, READ, 0, 0, link + 4)
    played = play(log, scene.granting(), script)
    assert played.errnos == [0, 0, 0, 0, 63, 63]
    assert [row["target"] for row in played.rows[:4]] == [
        f"{scene.mount}/{name}" for name in ("file", "file", "link", "link")
    ]
    assert played.seen[3].window == b"../o"
    assert played.rules[-2:] == ["beneath", "beneath"]


def test_what_is_read_over_the_list_of_buffers_is_read_to_where_the_list_said_before(scene, log):
    """The file holds entries that lead out of the memory, and falls on the list that it is read by."""
    (scene.mount / "entries").write_bytes(struct.pack("<IIII", HIGHEST, HIGHEST, WRAPS, 32) * 2)
    script = Script()
    file = script.open("entries")
    at = script.put(bytes(32), 8)
    struct.pack_into("<IIII", script.memory, at, at, 16, at + 16, 16)
    count = script.out(4, 4)
    script.call("fd_read", file, at, 2, count, window=(count, 4))
    script.call("fd_fdstat_get", file, script.out(24, 8))
    played = play(log, scene.granting(), script)
    assert played.errnos == [0, 0, 0]
    moved = int.from_bytes(played.seen[1].window, "little")
    assert 0 < moved <= 32
    assert played.rows[1]["bytes_in"] == moved


def test_a_count_on_top_of_the_list_or_of_the_text_changes_nothing_about_what_was_written(scene, log):
    script = Script()
    file = script.open("made", oflags=CREAT, rights=WRITE)
    text = script.put(b"abcdefgh", 8)
    entry, _ = script.vectors((text, 8))
    script.call("fd_write", file, entry, 1, entry, window=(entry, 4))
    entry, _ = script.vectors((text, 8))
    script.call("fd_write", file, entry, 1, text, window=(text, 4))
    played = play(log, scene.granting(after='audit: {payload: "head:64"}\n'), script)
    assert played.errnos == [0, 0, 0]
    assert [row["payload"] for row in played.rows[1:]] == [b"abcdefgh"] * 2
    assert (scene.mount / "made").read_bytes() == b"abcdefgh" * 2
    assert [row["bytes_out"] for row in played.rows[1:]] == [8, 8]


# --- what is not the guest's ------------------------------------------------------------------------------


def test_the_memory_of_a_guest_holds_nothing_of_the_monitor(scene, log):
    """It prints all that it has and gets when it grows: no rule, no path of the host, no record is in there."""
    script = Script()
    script.open("../outside/secret")
    script.read(script.open("file"))
    buffer = (0, END_OF_MEMORY)
    script.call("fd_write", 1, *script.vectors(buffer), script.out(4, 4))
    plan = scene.granting(
        deny=f'      - {{id: hidden-rule, uri: "fs://{scene.mount}/x/**"}}\n',
        after="resources: {limits: {stdout: 8Mi}}\n",
    )
    played = play(log, plan, script)
    printed = played.execution.stdout
    assert len(printed) > END_OF_MEMORY
    for word in (str(scene.mount), "hidden-rule", "wasmgate", str(log.root)):
        assert word.encode() not in printed
    assert SECRET not in printed
    assert b"file" in printed


def test_each_call_that_takes_a_pointer_is_attacked_here():
    attacked = {name.partition(" ")[0] for name in (*WITH_LENGTH, *RESULTS)}
    takes = {
        call.name
        for call in CALLS
        if call.name.startswith(("args_", "environ_", "clock_", "path_", "random"))
    }
    assert takes <= attacked | {"environ_get"}

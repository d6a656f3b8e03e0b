"""Ways round the monitor that a hostile guest has tried, each with a twin that is allowed.

What is refused call by call is in `test_monitor_denials.py`; here are the tricks that once worked, or might have.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.calls import CALLS
from policy.decide import Allow, Deny, decide
from sandbox import engine_wasmtime as engine
from sandbox.engine_wasmtime import EndKind
from sandbox.monitor.layout import Stop
from tests.guests import END_OF_MEMORY, OPS, Script
from tests.machines import ALL, Watched, artifact, run_watched, stopped, storage
from tests.sequences import CREAT, READ, WRITE, Builder

DQUOT, NOTCAPABLE = 19, 76
LARGE = 60_000
BEYOND = (END_OF_MEMORY >> 3) + 1  # more entries than fit in the guest's memory


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with two folders, a file, and links to what is there and to what is not."""
    folder = Path(tmp_path) / "root"
    for name in ("from", "to", "secret"):
        (folder / name).mkdir(parents=True)
    (folder / "from/file").write_bytes(b"file")
    (folder / "file").write_bytes(b"file")
    (folder / "dangling").symlink_to("new")
    (folder / "to_file").symlink_to("file")
    return folder


def run(plan, build: Builder) -> Watched:
    script = Script()
    build(script)
    return run_watched(script, plan)


def whole(root: Path, more: str = "") -> str:
    return f'id: whole, uri: "fs://{root}/**", mount: /a, {ALL}{more}'


def write(s: Script, call: str, fd: object, count: int, size: int) -> None:
    """Write one buffer, in a list of buffers that says it has `count` entries."""
    result = s.out(4, 4)
    vectors, _ = s.vectors((OPS, size))
    place = (0,) if call == "fd_pwrite" else ()
    s.call(call, fd, vectors, count, *place, result, window=(result, 4))  # type: ignore[arg-type]  # a slot or a number


@pytest.mark.parametrize("call", ["fd_write", "fd_pwrite"])
@pytest.mark.parametrize("count", [1, BEYOND])
def test_a_list_of_buffers_that_ends_outside_the_memory_is_counted_all_the_same(call, count, root):
    # the host looks at no entry behind the first buffer that is not empty
    plan = storage(root, whole(root, ", max_bytes: 10"))
    result = run(plan, lambda s: write(s, call, s.open("new", oflags=CREAT, rights=WRITE), count, LARGE))
    assert result.errnos[-1] == DQUOT
    assert result.records[-1].verdict == ("limit", "whole", "budget", "")
    assert (root / "new").stat().st_size == 0
    twin = run(plan, lambda s: write(s, call, s.open("new", rights=WRITE), count, 10))
    assert twin.errnos[-1] == 0
    assert twin.header["disk"] == (root / "new").stat().st_size == 10


@pytest.mark.parametrize("count", [1, BEYOND])
def test_standard_output_has_its_limit_whatever_the_list_of_buffers_says(count, root):
    plan = storage(root, whole(root), more="resources: {limits: {stdout: 10}}")
    result = run(plan, lambda s: write(s, "fd_write", 1, count, 11))
    assert (stopped(result), result.stdout) == (Stop.STDOUT, b"")
    assert len(run(plan, lambda s: write(s, "fd_write", 1, count, 10)).stdout) == 10


def test_in_audit_mode_what_is_made_through_a_link_counts(root):
    plan = storage(
        root, whole(root, ", max_files: 1"), deny=['id: no, uri: "fs://ROOT/secret/**"'], mode="audit"
    )

    def build(s: Script) -> None:
        for name in ("one", "two"):
            s.open("dangling", oflags=CREAT, rights=WRITE)
            s.rename("new", name)
        s.open("to_file", oflags=CREAT, rights=READ | WRITE)  # it is there: nothing is made

    result = run(plan, build)
    assert result.errnos == [0, 0, DQUOT, 44, 0]
    assert result.records[2].verdict == ("limit", "whole", "budget", "")
    assert result.records[4].verdict == ("would_deny", "symlink", "symlink", "")
    assert result.header["files"] == 1
    assert (root / "one").exists()
    assert not (root / "two").exists()


@pytest.mark.parametrize("name", ["table", "unarmed"])
def test_a_guest_cannot_import_what_the_gate_is_made_on(name, root):
    kind = "(global (mut i32))" if name == "unarmed" else f"(table {len(CALLS)} {len(CALLS)} funcref)"

    def ended(imported: str) -> EndKind:
        text = f'(module {imported} (memory (export "memory") 1) (func (export "_start")))'
        guest = artifact(engine.wat_to_wasm(text))
        return run_watched(Script(), storage(root, whole(root)), guest=guest).end

    assert ended(f'(import "wasi_snapshot_preview1" "{name}" {kind})') is EndKind.TRAPPED
    assert ended('(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))') is EndKind.RETURNED


OTHER = 'id: other, uri: "fs://ROOT/to/**", mount: /c, access: [{}]'


@pytest.mark.parametrize("other", ["read", "read, write", "append"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_move_does_not_give_more_by_another_mount_of_the_same_place(other, elsewhere, root):
    (root / "apart").mkdir()
    rules = (
        'id: from, uri: "fs://ROOT/from/**", mount: /a, access: [delete]',
        'id: to, uri: "fs://ROOT/to/**", mount: /b, access: [create, delete]',
        OTHER.format(other).replace("/to/", "/apart/") if elsewhere else OTHER.format(other),
    )
    plan = storage(root, *rules)
    decision = decide(plan, "path_rename", target="/a/file", target2="/b/file")
    result = run(plan, lambda s: s.rename("file", "file", 3, 4))
    if elsewhere:
        assert isinstance(decision, Allow)
        assert result.errnos == [0]
    else:
        assert isinstance(decision, Deny)
        assert decision.rule_id == "no-widening"
        assert result.errnos == [NOTCAPABLE]
        assert result.records[-1].verdict == ("deny", "no-widening", "widens", "")
        assert (root / "from/file").exists()


def test_nor_by_a_directory_that_was_opened_below_that_mount(root):
    (root / "to/inner").mkdir()
    plan = storage(
        root,
        'id: from, uri: "fs://ROOT/from/**", mount: /a, access: [delete]',
        'id: to, uri: "fs://ROOT/to/**", mount: /b, access: [create, delete]',
        'id: other, uri: "fs://ROOT/to/inner/**", mount: /c, access: [read]',
    )
    result = run(plan, lambda s: s.rename("file", "file", 3, s.open("inner", 4)))
    assert result.errnos == [0, NOTCAPABLE]
    assert result.records[-1].verdict == ("deny", "no-widening", "widens", "")


@pytest.mark.parametrize("access", ["read", "create, delete"])
def test_a_directory_that_another_mount_holds_open_does_not_move_to_where_that_one_has_less(access, root):
    (root / "to/inner").mkdir()
    plan = storage(
        root,
        'id: from, uri: "fs://ROOT/from/**", mount: /a, access: [create, delete]',
        'id: to, uri: "fs://ROOT/to/**", mount: /b, access: [create, delete]',
        f'id: other, uri: "fs://ROOT/to/**", mount: /c, access: [{access}]',
    )

    def build(s: Script) -> None:
        held = s.open("inner", 5)
        s.rename("inner", "inner", 4, 3)
        s.rename("file", "inner/file", 3, 3)
        s.read(s.open("file", held))

    result = run(plan, build)
    assert not any(b"file" in seen.window for seen in result.seen)
    if access == "read":
        assert result.records[1].verdict == ("deny", "no-widening", "widens", "")
        assert (root / "to/inner").is_dir()
    else:
        assert result.errnos[:3] == [0, 0, 0]
        assert (root / "from/inner/file").is_file()

"""The monitor, `policy.decide` and a naive second opinion agree; so do records, counters and what the guest saw.

Documents and paths are random (`tests/strategies.py`), and the monitor decides in a real guest. The folders of
the mounts are empty ones of the test: a decision on a path does not look at the disk.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from policy import PolicyError, compile_policy, load_document
from policy.bundle import Bundle
from policy.calls import CALLS
from policy.decide import Allow, Deny, WouldDeny, decide
from policy.document import BoundaryDocument, load_any
from policy.plan import Plan, Right
from policy.targets import resolve
from sandbox.engine_wasmtime import EndKind
from sandbox.monitor.layout import IN_FLIGHT, Decision
from tests import strategies
from tests.guests import OUTSIDE, Script
from tests.machines import ALL, run_watched, storage
from tests.oracle import RIGHTS, opinion
from tests.sequences import APPEND, CREAT, DIRECTORY, EXCL, READ, TRUNC, WRITE, plant, random_sequences

# For each right a call that needs just it, on a path that need not exist. None leaves a link behind, which would be
# refused for what it is: the host makes none that is absolute.
ASKING: dict[str, tuple[str, Right | None, Callable[[Script, int, str], object]]] = {
    "read": ("path_readlink", None, lambda s, fd, path: s.readlink(path, fd)),
    "create": ("path_create_directory", None, lambda s, fd, path: s.on("path_create_directory", path, fd)),
    "write": ("path_filestat_set_times", None, lambda s, fd, path: s.call("path_filestat_set_times", fd, 0, *s.text(path), 0, 0, 5)),
    "delete": ("path_unlink_file", None, lambda s, fd, path: s.on("path_unlink_file", path, fd)),
    "symlink": ("path_symlink", None, lambda s, fd, path: s.symlink("/nowhere", path, fd)),
    "append": ("path_open", Right.APPEND, lambda s, fd, path: s.open(path, fd, rights=WRITE, fdflags=APPEND)),
}  # fmt: skip


def compiled(document: dict[str, object]) -> Plan:
    try:
        return compile_policy(
            load_document(json.dumps(document).encode(), file="random.yaml"), base_dir="/", now_ns=None
        )
    except PolicyError:
        assume(False)  # rules that contradict each other are another test's matter
        raise


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    strategies.storage_documents(),
    st.lists(
        st.tuples(st.integers(0, 5), strategies.segments.filter(bool), st.sampled_from(sorted(ASKING))),
        min_size=1,
        max_size=12,
    ),
)
def test_the_monitor_decides_a_path_as_the_plan_and_the_naive_oracle_do(
    tmp_path_factory, document, questions
):
    plan = compiled(document)
    roots = [tmp_path_factory.mktemp("mount") for _ in plan.mounts]
    script = Script()
    asked = []
    for number, segments, right in questions:
        index = number % len(plan.mounts)
        call, wants, ask = ASKING[right]
        ask(script, 3 + index, "/".join(segments))
        asked.append((plan.mounts[index], segments, right, call, wants))
    result = run_watched(script, plan, roots)
    assert len(result.records) == len(asked)
    for record, seen, (mount, segments, right, call, wants) in zip(
        result.records, result.seen, asked, strict=True
    ):
        is_allowed = record.decision is not Decision.DENY
        assert is_allowed == (seen.errno != 76)
        second = opinion(document, mount.guest, segments, right)
        if right == "append" and not second.is_allowed:
            # writing anywhere is more than writing at the end
            second = opinion(document, mount.guest, segments, "write")
        assert is_allowed == second.is_allowed, repr((json.dumps(document), mount.guest, segments, record))
        if not is_allowed:
            assert record.rule in second.deciders or (
                record.rule.startswith("builtin.") and "builtin" in second.deciders
            )
        guest = f"{mount.guest.rstrip('/')}/{'/'.join(segments)}"
        # where another mount lies on the way, a path of that name is taken for one of its own
        if [place.mount for place in resolve(plan, guest)] == [mount]:
            decided = decide(plan, call, target=guest, wants=wants)
            assert isinstance(decided, Allow if is_allowed else Deny), repr(
                (json.dumps(document), guest, record, decided)
            )
            if isinstance(decided, Deny) and right != "append":
                assert decided.rule_id == record.rule


NEVER = st.lists(st.sampled_from(strategies.NEVER), min_size=1, max_size=3, unique=True)


def bounded(document: dict[str, object], never: list[str]) -> Plan:
    """The plan of `document`, in mode audit, inside a boundary that never grants some paths."""
    storage = {"roots": ["fs:///**", "tmp://**"], "access": list(RIGHTS), "never": never}
    boundary = {
        "version": 1,
        "kind": "Boundary",
        "metadata": {"name": "most"},
        "ceiling": {"storage": storage},
    }
    read = load_any(json.dumps(boundary).encode(), file="boundary.yaml")
    assert isinstance(read, BoundaryDocument)
    policy = load_document(json.dumps({**document, "mode": "audit"}).encode(), file="random.yaml")
    try:
        return compile_policy(policy, base_dir="/", now_ns=None, bundle=Bundle(boundaries=(read,)))
    except PolicyError:
        assume(False)
        raise


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    strategies.storage_documents(),
    NEVER,
    st.lists(
        st.tuples(st.integers(0, 5), strategies.segments.filter(bool), st.sampled_from(sorted(ASKING))),
        min_size=1,
        max_size=12,
    ),
)
def test_a_policy_that_only_audits_lets_nothing_happen_that_its_boundary_refuses(
    tmp_path_factory, document, never, questions
):
    plan = bounded(document, never)
    roots = [tmp_path_factory.mktemp("mount") for _ in plan.mounts]
    script = Script()
    asked = []
    for number, segments, right in questions:
        mount = plan.mounts[number % len(plan.mounts)]
        call, wants, ask = ASKING[right]
        ask(script, 3 + number % len(plan.mounts), "/".join(segments))
        guest = f"{mount.guest.rstrip('/')}/{'/'.join(segments)}"
        asked.append((guest, decide(plan, call, target=guest, wants=wants), mount))
    kinds = {Decision.ALLOW: Allow, Decision.DENY: Deny, Decision.WOULD_DENY: WouldDeny}
    result = run_watched(script, plan, roots)
    assert len(result.records) == len(asked)
    for record, seen, (guest, decided, mount) in zip(result.records, result.seen, asked, strict=True):
        assert (record.decision is Decision.DENY) == (seen.errno == 76)
        if [place.mount for place in resolve(plan, guest)] == [mount]:
            assert isinstance(decided, kinds[record.decision]), repr(
                (json.dumps(document), never, record, decided)
            )


def mixed(top: Path) -> Plan:
    """Some of everything: rights by folder, a file that is denied, budgets that run out."""
    return storage(
        top / "a",
        f'id: dir, uri: "fs://{top}/a/**", mount: /a, {ALL}, include: ["dir/**", "new*", "empty*"], max_files: 3',
        f'id: look, uri: "fs://{top}/a/**", mount: /a, access: [read, list]',
        f'id: other, uri: "fs://{top}/b/**", mount: /b, access: [read, list, create, append]',
        deny=[
            f'id: hide, uri: "fs://{top}/a/big"',
            f'id: inner, uri: "fs://{top}/a/dir/inner", access: [write]',
        ],
        more='resources: {limits: {disk: "40", open_files: 5, stdout: "20"}}',
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(random_sequences(), st.sampled_from(["return", "exit", "trap", "stdout"]))
def test_records_and_counters_are_what_the_guest_saw(tmp_path_factory, build, ending):
    top = tmp_path_factory.mktemp("random") / "top"
    plant(top)
    script = Script()
    build(script)
    if ending == "exit":
        script.call("proc_exit", 7)
    elif ending == "trap":
        script.call("fd_fdstat_get", 3, OUTSIDE)
    elif ending == "stdout":
        script.write(2, b"x")
        script.write(1, b"x" * 21)
    result = run_watched(script, mixed(top))
    returned = [record for record in result.records if record.errno != IN_FLIGHT]
    halted = [record for record in result.records if record.reason.name == "STOPPED"]
    assert [(one.name, one.errno) for one in result.seen] == [
        (record.call, record.errno) for record in returned if record not in halted
    ]
    assert len(result.records) - len(returned) <= 1
    by_table = {
        (CALLS[code].name, Decision(decision)): int(result.counters[code, decision])
        for code, decision in zip(*result.counters.nonzero(), strict=True)
    }
    assert by_table == Counter((record.call, record.decision) for record in returned)
    assert (result.end is EndKind.TRAPPED) == bool(
        result.header["stop"]
        or (len(returned) < len(result.records) and result.records[-1].call != "proc_exit")
    )
    assert result.header["exited"] == (result.end is EndKind.EXITED)


NAMES = (
    "f", "d", "e", "l", "n", "secret", "secret/key", "l/key", "d/f", "d/l", "e/n", ".", "d/..", "d/../secret/key", "e/key", "n/key",
    "d/secret/key",
)  # fmt: skip
NUMBERS = (3, 3, 3, 4, 5, 6, 7, 8)
_attempts = st.tuples(
    st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from(NUMBERS), st.sampled_from(NUMBERS)
)


def attempt(s: Script, kind: int, names: tuple[str, str], fds: tuple[int, int]) -> None:
    (one, other), (fd, fd2) = names, fds
    match kind:
        case 0 | 1 | 2 | 3:
            s.read(s.open(one, fd, rights=READ, oflags=(0, CREAT, TRUNC, CREAT | EXCL)[kind]))
        case 4:
            s.write(s.open(one, fd, rights=READ | WRITE, oflags=CREAT), b"mine")
        case 5:
            s.open(one, fd, oflags=DIRECTORY)
        case 6 | 7:
            s.rename(one, other, fd, fd2)
        case 8:
            s.link(one, other, fd, fd2)
        case 9:
            s.symlink(one, other, fd)
        case 10 | 11 | 12:
            s.on(("path_create_directory", "path_remove_directory", "path_unlink_file")[kind - 10], one, fd)
        case 13:
            s.call("fd_renumber", fd, fd2)
        case 14:
            s.call("fd_close", max(fd, 4))
        case _:
            s.read(fd)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 15), _attempts), min_size=1, max_size=40))
def test_no_sequence_of_calls_brings_out_what_a_rule_denies(tmp_path_factory, attempts):
    """Whatever is tried, the bytes of a denied file reach neither the guest nor another name, and stay as they are."""
    root = tmp_path_factory.mktemp("attack") / "root"
    for folder in ("d", "e", "secret"):
        (root / folder).mkdir(parents=True)
    (root / "secret/key").write_bytes(b"TOPSECRET")
    (root / "f").write_bytes(b"open")
    (root / "l").symlink_to("secret")
    plan = storage(
        root,
        f'id: all, uri: "fs://{root}/**", mount: /a, {ALL}',
        deny=[f'id: hide, uri: "fs://{root}/secret/**"'],
    )
    script = Script()
    for kind, (one, other, fd, fd2) in attempts:
        attempt(script, kind, (one, other), (fd, fd2))
    result = run_watched(script, plan)
    assert not any(b"TOPSECRET" in one.window for one in result.seen)
    assert (root / "secret/key").read_bytes() == b"TOPSECRET"
    assert (root / "secret/key").stat().st_nlink == 1
    assert [path.name for path in (root / "secret").iterdir()] == ["key"]

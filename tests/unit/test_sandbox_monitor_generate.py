"""The generated text: what it exports, that nothing is done before it is on record, that the ring and the paths are right.

What the calls decide is tested in `tests/integration`; here is the shape of the text, read as text, and the parts that
every call leans on, driven directly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from policy.automaton import step
from policy.calls import CALLS, MODULE
from policy.plan import RIGHTS, UNIFORM, PathAutomaton, PathClass, Right, StdinMode, Stdio
from sandbox import engine_wasmtime as engine
from sandbox.engine_wasmtime import EndKind
from sandbox.monitor import calls, generate, layout, paths, tables
from sandbox.monitor.kernel import kernel
from sandbox.monitor.over_time import OVER_TIME
from sandbox.monitor.rights import RIGHTS as RIGHTS_TEXT
from tests.guests import Script
from tests.machines import ALL, CONFIG, allow_all, artifact, run_watched, storage
from tests.modules import plan as bare_plan

NAMES = [call.name for call in CALLS]


def shape(text: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Imports and exports of a module."""
    module = wasmtime.Module(engine.make_engine(CONFIG), engine.wat_to_wasm(text))
    return [(item.module, item.name or "") for item in module.imports], [item.name for item in module.exports]


def test_the_gate_exports_the_calls_and_nothing_that_a_guest_could_change():
    imports, exports = shape(generate.gate())
    assert imports == [("slots", "table"), ("slots", "unarmed")]
    assert sorted(exports) == sorted(NAMES)
    assert len(NAMES) == 60


def test_the_probe_reaches_what_it_names_and_nothing_else():
    imports, exports = shape(generate.probe())
    assert imports == [(MODULE, name) for name in NAMES if name in generate.PROBED]
    assert sorted(exports) == sorted(["memory", *generate.PROBED])


def test_the_monitor_exports_what_the_cell_needs_and_no_function_of_the_host():
    imports, exports = shape(generate.monitor())
    assert sorted(exports) == ["arm", "exchange", "memory", "plan", "ring"]
    assert {module for module, _ in imports} == {MODULE, "probe", "host", "gate", "guest"}
    assert [name for module, name in imports if module in {"host", "gate", "guest"}] == [
        "drain",
        "ask",
        "network",
        "table",
        "memory",
    ]


def test_the_ring_cannot_grow_so_that_its_pages_stay_where_they_are_mapped():
    assert re.search(
        rf"memory \$ring \(export \"ring\"\) {layout.RING_PAGES} {layout.RING_PAGES}\)", generate.monitor()
    )


# --- record, then act -------------------------------------------------------------------------------

Node = str | list["Node"]
_TOKEN = re.compile(r';;[^\n]*|"[^"]*"|[()]|[^\s()]+')

# Reviewed: these look before the call is on record, and change nothing.
LOOKS_FIRST = {
    "fd_filestat_set_size": {"$probe.fd_filestat_get"},
    "fd_pwrite": {"$probe.fd_filestat_get"},
    "fd_write": {"$probe.fd_filestat_get", "$probe.fd_fdstat_get", "$probe.fd_tell"},
}
# The time of a record is read while the record is written.
OF_THE_RECORD = {"$probe.clock_time_get"}


def read(text: str) -> list[Node]:
    stack: list[list[Node]] = [[]]
    for token in _TOKEN.findall(text):
        if token.startswith(";;"):
            continue
        if token == "(":
            stack.append([])
        elif token == ")":
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(token)
    assert len(stack) == 1
    return stack[0]


def called(node: Node) -> Iterator[str]:
    if isinstance(node, list):
        if node[:1] == ["call"]:
            assert isinstance(node[1], str)
            yield node[1]
        for part in node:
            yield from called(part)


def reached(name: str) -> set[str]:
    """All functions that one calls, by others too."""
    found: set[str] = set()
    left = [name]
    while left:
        for each in set(called(bodies().get(left.pop(), []))) - found:
            found.add(each)
            left.append(each)
    return found


@cache
def bodies(*, for_components: bool = False) -> dict[str, list[Node]]:
    text = (
        kernel(for_components=for_components)
        + OVER_TIME
        + RIGHTS_TEXT
        + paths.PATHS
        + calls.SUPPORT
        + "".join(function.text() for function in calls.FUNCTIONS)
    )
    return {str(node[1]): node[2:] for node in read(text) if isinstance(node, list) and node[0] == "func"}


def acts(name: str) -> bool:
    return name.startswith(("$real.", "$probe.", "$host.network")) and name not in OF_THE_RECORD


class Reader:
    """Follows a body in the order in which it runs, and collects what is done before anything is published."""

    def __init__(self) -> None:
        self.early: set[str] = set()

    def run(self, nodes: list[Node], is_published: bool) -> tuple[bool, bool]:
        """Says whether it is published behind them, and whether what is behind them is reached."""
        for node in nodes:
            is_published, is_reached = self.one(node, is_published)
            if not is_reached:
                return is_published, False
        return is_published, True

    def one(self, node: Node, is_published: bool) -> tuple[bool, bool]:
        if not isinstance(node, list) or not node or node[0] in {"param", "local", "result", "export"}:
            return is_published, True
        head = node[0]
        if head == "if":
            branches = [
                part for part in node[1:] if isinstance(part, list) and part[:1] in (["then"], ["else"])
            ]
            is_published, is_reached = self.run(
                [part for part in node[1:] if part not in branches], is_published
            )
            ends = [self.run(branch[1:], is_published) for branch in branches]
            if len(branches) == 1:
                ends.append((is_published, is_reached))
            reached = [published for published, reaches in ends if reaches]
            return (all(reached), True) if reached else (is_published, False)
        if head == "call":
            is_published, _ = self.run(node[2:], is_published)
            return self.enter(str(node[1]), is_published), node[1] not in {"$stop", "$halt", "$wild"}
        is_published, _ = self.run(node[1:], is_published)
        return is_published, head not in {"return", "unreachable", "br"}

    def enter(self, name: str, is_published: bool) -> bool:
        if name == "$publish":
            return True
        if acts(name) and not is_published:
            self.early.add(name)
        if name in bodies() and not is_published:
            is_published, _ = self.run(bodies()[name], is_published)
        return is_published


@pytest.mark.parametrize("name", NAMES)
def test_nothing_reaches_the_host_before_the_call_is_on_record(name):
    reader = Reader()
    reader.run(bodies()[f"$m.{name}"], is_published=False)
    assert reader.early == LOOKS_FIRST.get(name, set())
    assert any(map(acts, reached(f"$m.{name}")))


def test_the_monitor_of_components_differs_in_the_name_it_records_and_in_one_call_that_reaches_nothing():
    plain, named = bodies(), bodies(for_components=True)
    assert set(named) - set(plain) == {"$m.note"}
    assert {name for name in plain if plain[name] != named[name]} == {"$publish", "$publish_refusal"}
    for name in ("$publish", "$publish_refusal"):
        # the two stores come first, and what is left is the same
        assert [each for each in named[name] if each not in plain[name]] == named[name][:2]
        assert [each for each in named[name] if each in plain[name]] == plain[name]
    reader = Reader()
    reader.run(named["$m.note"], is_published=False)
    assert reader.early == LOOKS_FIRST.get("sched_yield", set())


def test_the_reader_of_this_file_sees_an_act_that_comes_too_early():
    for text, early in (
        ("(call $real.x)", {"$real.x"}),
        ("(call $publish) (call $real.x)", set()),
        ("(if (local.get 0) (then (call $publish))) (call $real.x)", {"$real.x"}),
        ("(if (local.get 0) (then (return (i32.const 1))) (else (call $publish))) (call $real.x)", set()),
        ("(drop (call $publish (call $probe.y)))", {"$probe.y"}),
        ("(call $hop (i32.const 0))", {"$probe.path_open", "$probe.path_filestat_get", "$probe.fd_close"}),
        ("(block $b (br $b) (call $publish)) (call $real.x)", {"$real.x"}),
    ):
        reader = Reader()
        reader.run(read(text), is_published=False)
        assert reader.early == early, text


ENDS = {
    "$refuse",
    "$found_forbidden",
    "$revoke",
    "$complete",
    "$badf",
    "$spent",
    "$finish",
    "$finish2",
    "$done_net",
    "$no_socket",
}


def test_each_call_but_the_exit_completes_its_record_on_every_return():
    for name in NAMES:
        body = bodies()[f"$m.{name}"]
        for node in body:
            for found in returns(node):
                assert set(called(found)) & ENDS or found[1] == ["local.get", "$errno"], (name, found)


def returns(node: Node) -> Iterator[list[Node]]:
    if isinstance(node, list):
        if node[:1] == ["return"]:
            yield node
        for part in node:
            yield from returns(part)


# --- before the monitor is armed --------------------------------------------------------------------

STARTING = """(module (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 0) "\\10\\00\\00\\00\\05\\00\\00\\00") (data (i32.const 16) "early")
  (global $first (mut i32) (i32.const 0))
  (func $early (global.set $first (call $yield)) (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  START
  (func (export "_start")
    (if (i32.ne (global.get $first) (i32.const EXPECTED)) (then (unreachable)))
    (drop (call $yield))))"""


@pytest.mark.parametrize(("start", "first", "unarmed"), [("(start $early)", 76, 2), ("", 0, 0)])
def test_calls_of_a_start_section_are_refused_and_counted(start, first, unarmed, tmp_path):
    text = STARTING.replace("START", start).replace("EXPECTED", str(first))
    result = run_watched(Script(), allow_all(tmp_path), guest=artifact(engine.wat_to_wasm(text)))
    assert result.end is EndKind.RETURNED
    assert result.unarmed == unarmed
    assert result.stdout == b""
    assert [record.call for record in result.records] == ["sched_yield"]


# --- the ring ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sync", ["batch", "deny"])
def test_the_ring_wraps_with_every_record_and_every_path_intact(sync, tmp_path):
    (tmp_path / "link").symlink_to("x")
    plan = storage(
        tmp_path, f'uri: "fs://{tmp_path}/**", mount: /a, {ALL}', deny=[f'id: no, uri: "fs://{tmp_path}/no*"'],
        more=f"resources: {{limits: {{host_calls: 1000000}}}}\naudit: {{sync: {sync}}}",
    )  # fmt: skip
    texts = [b"a" * 1, b"no" + b"b" * 249, b"c" * 2_000, b"./" * 1_000 + b"d", b"no", b"e/" * 30 + b"e"]
    script = Script()
    for text in texts:
        script.stat(text)
    script.link("y" * 3_000, "z" * 4_000)
    script.rename("no" + "q" * 300, "r" * 100)
    times = 2_500
    script.loop(times - 1, len(texts) + 2)
    result = run_watched(script, plan)
    expected = [(text, b"") for text in texts] + [
        (b"y" * 3_000, b"z" * 4_000),
        (b"no" + b"q" * 300, b"r" * 100),
    ]
    assert len(result.records) == times * len(expected) > layout.RING_RECORDS
    assert result.header["arena"] > 10 * layout.ARENA_BYTES
    for place, (text, text2) in enumerate(expected):
        found = {(record.target, record.target2) for record in result.records[place :: len(expected)]}
        assert found == {(text, text2)}
    moments = [record.t_ns for record in result.records]
    assert moments == sorted(moments)


def test_the_guest_ends_when_its_records_cannot_be_kept(tmp_path):
    plan = storage(tmp_path, f'uri: "fs://{tmp_path}/**", mount: /a, access: [read]')
    script = Script()
    script.stat("x")
    script.on("path_unlink_file", "x")
    script.stat("x")
    result = run_watched(script, plan, answer=1)  # the refusal cannot be made durable
    assert result.end is EndKind.TRAPPED
    assert result.header["stop"] == layout.Stop.AUDIT
    assert len(result.seen) == 1
    assert len(result.records) == 2
    assert run_watched(script, plan).end is EndKind.RETURNED


# --- paths ------------------------------------------------------------------------------------------


class Driver:
    """The monitor with its inner functions exported, on a plan with a given automaton."""

    def __init__(self) -> None:
        exports = "".join(f'(export "{name}" (func ${name}))' for name in ("step", "walk"))
        exports += "".join(
            f'(export "{name}" (global ${name}))' for name in ("state", "depth", "end", "slash")
        )
        made = engine.make_engine(CONFIG)
        self.store = wasmtime.Store(made)
        self.store.set_epoch_deadline(1)
        self.store.set_wasi(wasmtime.WasiConfig())
        linker = wasmtime.Linker(made)
        linker.define_wasi()
        slots, _ = engine.gate_slots(self.store)
        probe = linker.instantiate(self.store, wasmtime.Module(made, generate.probe()))
        linker.define(self.store, "gate", "table", slots)
        linker.define_instance(self.store, "probe", probe)
        linker.define(
            self.store,
            "guest",
            "memory",
            wasmtime.Memory(self.store, wasmtime.MemoryType(wasmtime.Limits(1, 1))),
        )
        kind = wasmtime.FuncType([wasmtime.ValType.i32()], [wasmtime.ValType.i32()])
        linker.define_func("host", "drain", kind, lambda _: 0)
        asking = wasmtime.FuncType(
            [wasmtime.ValType.i32()] * 2 + [wasmtime.ValType.i64()] * 6, [wasmtime.ValType.i32()]
        )
        for door in ("ask", "network"):
            linker.define_func("host", door, asking, lambda *_: 76)
        text = generate.monitor().rstrip().removesuffix(")") + exports + ")"
        self.exports = linker.instantiate(self.store, wasmtime.Module(made, text)).exports(self.store)
        self.scratch = probe.exports(self.store)["memory"]

    def load(self, automaton: PathAutomaton) -> None:
        content = tables.encode(
            replace(bare_plan(), automaton=automaton, stdio=Stdio(stdin=StdinMode.CALLER))
        ).content
        memory = self.exports["plan"]
        assert isinstance(memory, wasmtime.Memory)
        missing = -(-len(content) // layout.PAGE) - memory.size(self.store)
        if missing > 0:
            memory.grow(self.store, missing)
        memory.write(self.store, content, 0)

    def call(self, name: str, *arguments: int) -> int:
        function = self.exports[name]
        assert isinstance(function, wasmtime.Func)
        return int(function(self.store, *arguments))

    def value(self, name: str) -> int:
        found = self.exports[name]
        assert isinstance(found, wasmtime.Global)
        return int(found.value(self.store))

    def walk(self, state: int, path: bytes) -> tuple[int, int, bytes, bool] | None:
        """State, depth, joined text and trailing slash; None when the path leads out."""
        assert isinstance(self.scratch, wasmtime.Memory)
        self.scratch.write(self.store, path, paths.RAW[0])
        if self.call("walk", state, paths.RAW[0], len(path), paths.NORMAL[0], tables.STACKS):
            return None
        text = self.scratch.read(self.store, paths.NORMAL[0], self.value("end"))
        return self.value("state"), self.value("depth"), bytes(text), bool(self.value("slash"))


@cache
def driver() -> Driver:
    return Driver()


@st.composite
def automata(draw: st.DrawFn) -> PathAutomaton:
    count = draw(st.integers(1, 6))
    target = st.integers(0, count - 1)
    edges: list[tuple[int, int, int]] = []
    states = [(0, 0, 0, 0, UNIFORM)]
    for _ in range(count - 1):
        cuts = sorted(draw(st.sets(st.integers(0, 255), max_size=24)))
        if draw(st.booleans()):
            cuts += [byte for byte in (46, 47, 97, 98) if byte not in cuts]
            cuts.sort()
        mine = []
        for low, beyond in zip(cuts, [*cuts[1:], 256], strict=False):
            if draw(st.booleans()):
                mine.append((low, draw(st.integers(low, beyond - 1)), draw(target)))
        states.append((len(edges), len(mine), 0, draw(target), 0))
        edges += mine
    return PathAutomaton(tuple(states), tuple(edges), (PathClass(0, (0,) * 7),))


@given(automata(), st.data())
def test_a_step_of_the_automaton_is_that_of_the_policy(automaton, data):
    driver().load(automaton)
    for _ in range(60):
        state, byte = data.draw(st.integers(0, len(automaton.states) - 1)), data.draw(st.integers(0, 255))
        assert driver().call("step", state, byte) == step(automaton, state, byte)
    for low, high, _ in automaton.edges:
        for byte in {low, high, max(low - 1, 0), min(high + 1, 255)}:
            for state in range(len(automaton.states)):
                assert driver().call("step", state, byte) == step(automaton, state, byte)


def normal(path: bytes) -> list[bytes] | None:
    if path.startswith(b"/"):
        return None
    found: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            if not found:
                return None
            found.pop()
        elif segment not in (b"", b"."):
            found.append(segment)
    return found


@given(
    automata(),
    st.lists(
        st.sampled_from([b"a", b"b", b"ab", b".", b"..", b"...", b"", b".a", b"\xff", b"\0", b"a" * 255]),
        max_size=12,
    ),
)
def test_a_walk_is_the_normalised_path_through_the_automaton(automaton, segments):
    driver().load(automaton)
    path, start = b"/".join(segments), len(automaton.states) - 1
    segments_left = normal(path)
    if segments_left is None:
        assert driver().walk(start, path) is None
        return
    state = start
    for segment in segments_left:
        for byte in b"/" + segment:
            state = step(automaton, state, byte)
    assert driver().walk(start, path) == (
        state,
        len(segments_left),
        b"/".join(segments_left),
        path.endswith(b"/"),
    )


def test_the_deepest_path_fits_its_stack():
    automaton = PathAutomaton(((0, 0, 0, 0, UNIFORM),), (), (PathClass(0, (0,) * 7),))
    driver().load(automaton)
    path = b"a/" * 2_047 + b"a"
    assert len(path) == 4_095 == paths.PATH_MAX - 1
    assert driver().walk(0, path) == (0, 2_048, path, False)
    assert tables.STACK_BYTES >= 2_048 * 8
    assert tables.STACKS + 2 * tables.STACK_BYTES <= tables.WAITING
    assert tables.OVER_TIME + tables.MAX_OVER_TIME * tables.OVER_TIME_BYTES <= tables.DESCRIPTORS
    assert tables.DESCRIPTORS + tables.MAX_DESCRIPTORS * tables.DESCRIPTOR_BYTES <= tables.TABLES
    assert paths.RAW[0] + paths.PATH_MAX <= paths.NORMAL[0]
    assert paths.NORMAL[0] + paths.PATH_MAX <= paths.RAW[1]
    assert paths.NORMAL[1] + paths.PATH_MAX <= paths.DOT


# --- the page ---------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs/reference/monitor.md"
LOWERED = {function.name: function for function in calls.FUNCTIONS}


def words(rights: Right) -> str:
    return ", ".join(f"`{str(right.name).lower()}`" for right in RIGHTS if right in rights)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_the_page_tells_of_each_call_what_the_tables_say(call):
    text = PAGE.read_text(encoding="utf-8")
    (section,) = re.findall(rf"^### `{call.name}`\n(.*?)(?=^### |\Z)", text, re.DOTALL | re.MULTILINE)
    needs = (words(call.rights) or "none") + (
        f"; at the second path {words(call.rights2)}" if call.rights2 else ""
    )
    assert f"- Rights: {needs}.\n" in section
    assert f"- On record: {LOWERED[call.name].records}.\n" in section

"""Policies learned from refused runs of real programs: run, learn, run again, until the program works.

What is learned is laid beside a policy that a person wrote for the same program: it must make the same output,
and must not be wider, except where the test says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.evidence import facts_of
from audit.filters import RecordFilter
from audit.query import AuditReader
from audit.receipt import OutcomeKind
from audit.recovery import recover
from policy import Plan, check_policy, compile_policy, load_document
from policy.diff import Direction, diff
from policy.learn import Draft, Material, Run, learn
from sandbox.monitor.decode import decode
from sandbox.runner import Execution
from tests.programs import program
from tests.runs import Log, exited

MOST_ROUNDS = 12  # a script stops at the first file that it may not open
ROOMY = "resources: {limits: {memory: 256Mi, cpu: 60s, timeout: 60s, compile: 60s, table_elements: 100k, stack: 1Mi}}\n"


def compiled(text: str, folder: Path) -> Plan:
    return compile_policy(load_document(text.encode(), file="p.yaml"), base_dir=str(folder), now_ns=None)


@dataclass
class Learned:
    draft: Draft
    first: Execution
    last: Execution
    rounds: int
    plan: Plan


@dataclass
class Program:
    """A guest with the folder that it works in; `reset` brings that into the state before a run."""

    name: str
    folder: Path
    args: tuple[str, ...]
    reset: Callable[[], None]

    def run(self, log: Log, plan: Plan) -> Execution:
        self.reset()
        return log.run(
            program(self.name).read_bytes(), plan, extra_args=self.args, module_name=f"{self.name}.wasm"
        )

    def learned(self, log: Log, start: str, **more: object) -> Learned:
        document = load_document(start.encode(), file="start.yaml")
        runs: list[Run] = []
        text, first, draft = start, None, None
        for rounds in range(1, MOST_ROUNDS + 1):
            plan = compiled(text, self.folder)
            done = self.run(log, plan)
            first = first or done
            if draft is not None and draft.is_final:
                return Learned(draft, first, done, rounds, plan)
            runs.append(recorded(log, done))
            draft = learn(
                Material(
                    runs=tuple(runs),
                    modules=(done.receipt.module_digest,),
                    start=document,
                    base_dir=str(self.folder),
                    **more,  # type: ignore[arg-type]  # each test knows its own
                )
            )
            assert not draft.still_refused
            assert not draft.has_errors, draft.findings
            text = draft.text
        pytest.fail(f"{self.name} does not work after {MOST_ROUNDS} rounds:\n{text}")


def recorded(log: Log, done: Execution) -> Run:
    log.writer.rotate()
    recover(log.root, decode)
    with AuditReader(log.root, decode) as reader:
        facts = facts_of(reader, RecordFilter(execution=done.receipt.execution_id))
    return Run(done.receipt.execution_id, facts, done.receipt.outcome.limit or "")


def normalised(text: str, folder: Path) -> str:
    text = text.replace(str(folder), "/srv/project")
    text = re.sub(r"sha256:[0-9a-f]{64}", "sha256:DIGEST", text)
    names: dict[str, str] = {}
    for name in re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", text):
        names.setdefault(name, f"RUN-{len(names) + 1}")
    for name, short in names.items():
        text = text.replace(name, short)
    return text


def wider(hand: Plan, learned: Plan) -> list[str]:
    """What a learned policy allows beyond the one that a person wrote."""
    return [each.what for each in diff(hand, learned).items if each.direction is not Direction.NARROWER]


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


START = """
version: 1
metadata: {name: learning}
mode: learn
permissions:
  storage:
    allow:
"""

QUICKJS = """
import * as std from "qjs:std";
import * as os from "qjs:os";
const config = JSON.parse(std.loadFile("/in/config.json"));
const [names] = os.readdir("/in/notes");
const notes = names.filter(name => name.endsWith(".txt")).sort();
const out = std.open("/out/result.txt", "w");
if (!out) { std.err.puts("no output\\n"); std.exit(3); }
out.puts(config.greeting + " " + notes.join(",") + "\\n");
out.close();
print("done");
"""


def test_quickjs_learns_to_read_a_setting_list_a_folder_and_write_a_result(shared, tmp_path, golden):
    write(
        tmp_path,
        {
            "in/main.js": QUICKJS,
            "in/config.json": '{"greeting": "hello"}',
            "in/notes/a.txt": "a",
            "in/notes/b.txt": "b",
            "in/private.pem": "key",
        },
    )
    out = tmp_path / "out"
    out.mkdir()
    guest = Program(
        "quickjs", tmp_path, ("-m", "/in/main.js"), lambda: (out / "result.txt").unlink(missing_ok=True)
    )
    start = START + (
        '      - {id: in, uri: "fs:./in/**", mount: /in, access: []}\n'
        '      - {id: out, uri: "fs:./out/**", mount: /out, access: []}\n'
    )
    learned = guest.learned(shared, start + ROOMY)
    assert learned.first.receipt.outcome != exited()
    assert (learned.last.receipt.outcome, learned.last.stdout) == (exited(), b"done\n")
    result = (out / "result.txt").read_text()
    hand = compiled(
        "version: 1\nmetadata: {name: hand}\npermissions:\n  storage:\n    allow:\n"
        '      - {uri: "fs:./in/**", mount: /in, access: [read, list], include: [main.js, config.json, notes]}\n'
        '      - {uri: "fs:./out/**", mount: /out, access: [create, write]}\n' + ROOMY,
        tmp_path,
    )
    by_hand = guest.run(shared, hand)
    assert (by_hand.receipt.outcome, by_hand.stdout) == (exited(), b"done\n")
    assert (out / "result.txt").read_text() == result == "hello a.txt,b.txt\n"
    assert wider(hand, learned.plan) == []
    golden("learned/quickjs.yaml", normalised(learned.draft.text, tmp_path))


def test_icepll_learns_to_write_its_one_file(shared, tmp_path, golden):
    (tmp_path / "kept.v").write_text("kept")
    guest = Program(
        "icepll",
        tmp_path,
        ("-i", "12", "-o", "60", "-m", "-f", "/d/pll.v"),
        lambda: (tmp_path / "pll.v").unlink(missing_ok=True),
    )
    start = START + '      - {id: d, uri: "fs:./**", mount: /d, access: []}\n'
    learned = guest.learned(shared, start + ROOMY)
    assert learned.first.receipt.outcome != exited()
    assert learned.last.receipt.outcome == exited(), learned.last.stderr
    text = (tmp_path / "pll.v").read_text()
    assert "SB_PLL40_CORE" in text
    hand = compiled(
        "version: 1\nmetadata: {name: hand}\npermissions:\n  storage:\n    allow:\n"
        '      - {uri: "fs:./pll.v", mount: /d/pll.v, access: [create, write]}\n' + ROOMY,
        tmp_path,
    )
    assert guest.run(shared, hand).receipt.outcome == exited()
    assert (tmp_path / "pll.v").read_text() == text
    assert wider(hand, learned.plan) == []
    golden("learned/icepll.yaml", normalised(learned.draft.text, tmp_path))


CPYTHON = """
import csv, os
total = 0
for name in sorted(os.listdir("/data")):
    if name.startswith("part-"):
        with open("/data/" + name, newline="") as part:
            total += sum(int(row["n"]) for row in csv.DictReader(part))
with open("/out/sum.txt", "w") as out:
    out.write(str(total))
print("total", total)
"""


@pytest.mark.timeout(240)
def test_cpython_learns_the_tables_it_reads_as_one_glob(shared, tmp_path, golden):
    write(tmp_path, {"app/main.py": CPYTHON, "data/secret-part.csv": "n\n99\n"})
    write(tmp_path, {f"data/part-{n}.csv": f"n\n{n}\n" for n in range(8)})
    out = tmp_path / "out"
    out.mkdir()
    guest = Program("cpython", tmp_path, ("/app/main.py",), lambda: (out / "sum.txt").unlink(missing_ok=True))
    start = START + (
        '      - {id: app, uri: "fs:./app/**", mount: /app, access: []}\n'
        '      - {id: data, uri: "fs:./data/**", mount: /data, access: []}\n'
        '      - {id: out, uri: "fs:./out/**", mount: /out, access: []}\n'
    )
    learned = guest.learned(shared, start + ROOMY)
    assert learned.first.receipt.outcome != exited()
    assert learned.last.receipt.outcome == exited(), learned.last.stderr
    assert learned.last.stdout.splitlines()[-1] == b"total 28"
    assert (out / "sum.txt").read_text() == "28"
    hand = compiled(
        "version: 1\nmetadata: {name: hand}\npermissions:\n  storage:\n    allow:\n"
        '      - {uri: "fs:./app/**", mount: /app, access: [read, list]}\n'
        '      - {uri: "fs:./data/**", mount: /data, access: [read, list], include: ["part-*.csv"]}\n'
        '      - {uri: "fs:./out/**", mount: /out, access: [create, write]}\n' + ROOMY,
        tmp_path,
    )
    by_hand = guest.run(shared, hand)
    assert (by_hand.receipt.outcome, by_hand.stdout) == (exited(), learned.last.stdout)
    assert (out / "sum.txt").read_text() == "28"
    assert wider(hand, learned.plan) == []
    golden("learned/cpython.yaml", normalised(learned.draft.text, tmp_path))


def test_graphviz_learns_that_it_needs_nothing(shared):
    module = program("graphviz").read_bytes()
    plan = compiled("version: 1\nmetadata: {name: start}\n" + ROOMY, Path("/"))
    done = shared.run(module, plan, invoke="graphviz_version")
    assert done.receipt.outcome.kind is OutcomeKind.EXITED
    run = recorded(shared, done)
    if not run.facts:
        return  # it made no host call at all, and then there is nothing to learn from
    draft = learn(Material(runs=(run,), modules=(done.receipt.module_digest,)))
    assert draft.rules == ()
    document = load_document(draft.text.encode(), file="draft")
    assert check_policy(document, base_dir="/", now_ns=None) == ()

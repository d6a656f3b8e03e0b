"""Real programs, run to the end under a policy: an interpreter, a small one, a large C++ program, reactors."""

from __future__ import annotations

import threading

import pytest

from audit.receipt import OutcomeKind
from tests.programs import program
from tests.runs import exited, mount_rule, policy

# More than `limits` gives by default: CPython needs memory and compiles for seconds.
ROOMY = "resources: {limits: {memory: 256Mi, cpu: 60s, timeout: 60s, compile: 60s, table_elements: 100k, stack: 1Mi}}\n"
SCRIPT = """
import csv, os, sys
rows = list(csv.DictReader(open("/in/data.csv")))
with open("/out/sum.txt", "w") as out:
    out.write(str(sum(int(row["n"]) for row in rows)))
for path in ("/in/secret.txt", "/etc/passwd", "/in/../../etc/passwd"):
    try:
        open(path).read()
        print("read", path)
    except OSError as err:
        print("refused", path)
try:
    open("/in/data.csv", "a")
except OSError as err:
    print("not written", err.errno)
print(sys.argv[1:], len(os.environ))
"""


@pytest.mark.timeout(240)
def test_cpython_reads_one_mount_and_writes_another(shared, tmp_path):
    for name in ("in", "out", "app"):
        (tmp_path / name).mkdir()
    (tmp_path / "in/data.csv").write_text("n,m\n1,a\n41,b\n")
    (tmp_path / "in/secret.txt").write_text("secret")
    (tmp_path / "app/main.py").write_text(SCRIPT)
    text = mount_rule(tmp_path / "in", "read, list", mount="/in", more=', include: ["*.csv"]')
    text += f'      - {{id: o, uri: "fs://{tmp_path}/out/**", mount: /out, access: [read, list, create, write]}}\n'
    text += f'      - {{id: a, uri: "fs://{tmp_path}/app/**", mount: /app, access: [read, list]}}\n'
    done = shared.run(
        program("cpython").read_bytes(), policy(text + ROOMY), extra_args=("/app/main.py", "x y", "ü")
    )
    assert done.receipt.outcome == exited(), done.stderr
    assert (tmp_path / "out/sum.txt").read_text() == "42"
    said = done.stdout.decode().splitlines()
    assert said[:3] == ["refused /in/secret.txt", "refused /etc/passwd", "refused /in/../../etc/passwd"]
    assert said[3].startswith("not written")
    assert said[4] == "['x y', 'ü'] 0"
    rows = shared.check(done)
    refused = [row["target"] for row in rows if row["decision"] == "deny"]
    assert str(tmp_path / "in/secret.txt") in refused
    assert (tmp_path / "in/data.csv").read_text() == "n,m\n1,a\n41,b\n"


def test_quickjs_runs_a_script(shared, tmp_path):
    (tmp_path / "main.js").write_text(
        'import * as std from "qjs:std"; const f = std.open("/d/out.txt", "w"); f.puts("from js"); f.close();'
        'print(std.loadFile("/d/main.js").length > 0, std.getenv("HOME"));'
    )
    plan = policy(mount_rule(tmp_path, "read, list, create, write") + ROOMY)
    done = shared.run(program("quickjs").read_bytes(), plan, extra_args=("-m", "/d/main.js"))
    assert (done.receipt.outcome, done.stdout) == (exited(), b"true undefined\n"), done.stderr
    assert (tmp_path / "out.txt").read_text() == "from js"
    shared.check(done)


def test_quickjs_is_stopped_in_an_endless_loop(shared, tmp_path):
    (tmp_path / "main.js").write_text("for (;;) ;")
    plan = policy(
        mount_rule(tmp_path, "read, list") + "resources: {limits: {cpu: 200ms, timeout: 20s, memory: 64Mi}}\n"
    )
    done = shared.run(program("quickjs").read_bytes(), plan, extra_args=("/d/main.js",))
    assert done.receipt.outcome.limit == "cpu"
    shared.check(done)


def test_a_small_cpp_program_writes_its_file_and_nothing_else(shared, tmp_path):
    (tmp_path / "kept.v").write_text("kept")
    module = program("icepll").read_bytes()
    arguments = ("-i", "12", "-o", "60", "-m", "-f")
    plan = policy(mount_rule(tmp_path, "read, list, create, write") + ROOMY)
    done = shared.run(module, plan, extra_args=(*arguments, "/d/pll.v"))
    assert done.receipt.outcome == exited(), done.stderr
    assert "SB_PLL40_CORE" in (tmp_path / "pll.v").read_text()
    shared.check(done)
    denied = policy(mount_rule(tmp_path, "read, list") + ROOMY)
    twin = shared.run(module, denied, extra_args=(*arguments, "/d/other.v"))
    assert twin.receipt.outcome != exited()
    assert [one.call for one in twin.receipt.refusals] == ["path_open"]
    assert not (tmp_path / "other.v").exists()


@pytest.mark.timeout(240)
def test_a_large_cpp_program_runs(shared, tmp_path):
    done = shared.run(
        program("nextpnr-ice40").read_bytes(),
        policy(mount_rule(tmp_path, "read, list") + ROOMY),
        extra_args=("--version",),
    )
    assert done.receipt.outcome == exited(), done.stderr
    assert b"Next Generation Place and Route" in done.stdout + done.stderr
    shared.check(done)


def test_a_program_that_fails_ends_with_its_own_status_and_words(shared, tmp_path):
    (tmp_path / "in.asc").write_text(".device 1k\n.nonsense\n")
    plan = policy(mount_rule(tmp_path, "read, list, create, write") + ROOMY)
    done = shared.run(program("icepack").read_bytes(), plan, extra_args=("/d/in.asc", "/d/out.bin"))
    assert done.receipt.outcome == exited(1)
    assert b"Unknown statement: .nonsense" in done.stderr
    shared.check(done)


@pytest.mark.parametrize(
    ("name", "export"), [("graphviz", "graphviz_version"), ("eu-licence-validator", "asyncify_get_state")]
)
def test_a_reactor_is_called_by_the_name_of_an_export(shared, name, export):
    module = program(name).read_bytes()
    done = shared.run(module, policy(ROOMY), invoke=export)
    assert done.receipt.outcome.kind is OutcomeKind.EXITED, done.receipt.outcome
    shared.check(done)
    refused = shared.run(module, policy(ROOMY), invoke="no_such_export").receipt
    assert refused.outcome.kind is OutcomeKind.REFUSED
    assert "--invoke NAME" in (refused.outcome.message or "")


@pytest.mark.timeout(240)
def test_a_compilation_that_nobody_wants_any_more_ends(shared):
    event = threading.Event()
    timer = threading.Timer(0.5, event.set)
    timer.start()
    done = shared.run(
        program("cpython").read_bytes(), policy(ROOMY + "runtime: {cache: false}\n"), cancelled=event
    )
    timer.join()
    assert (done.receipt.outcome.kind, done.receipt.outcome.message) == (OutcomeKind.KILLED, "cancelled")

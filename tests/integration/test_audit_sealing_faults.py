"""Each call of the sealer and of the signer fails or is its last: done again, nothing is lost, doubled or contradicted."""

from __future__ import annotations

import errno
import json
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from audit.columns import WORDS
from audit.events import ControlEvent
from audit.receipt import CallCount
from audit.tlog.key_files import KeyFolder
from audit.writer import AuditWriter
from tests.crashing_services import check_sealed, check_signed
from tests.faults import Done, Faults, Forks
from tests.records import STORY, T0, receipt, start, tell
from tests.sealed_logs import rows_of

CODE = """
import json
from pathlib import Path
import api.sealing, audit.recovery, audit.masks, audit.mask_keys, pyarrow.parquet, sandbox.monitor.decode
from api.sealer_process import _answer
from api.signing import main as sign
def main(what, folder):
    base = Path(folder)
    if what == "seal":
        print(json.dumps(_answer(base / "log", None)), flush=True)
    else:
        sign([str(base / "log"), str(base / "keys"), "--once"])
"""
CALLS = ("write", "fsync", "rename", "mkdir", "unlink", "open", "fdatasync")
ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
TRIES = [
    # a call, and how many of its points are tried
    *(pytest.param(call, 1, id=f"{call}-gate") for call in CALLS[:4]),
    *(
        pytest.param(call, 1_000_000, id=f"{call}-slow", marks=[pytest.mark.slow, pytest.mark.timeout(3_600)])
        for call in CALLS
    ),
]
EVENT = "01a1ee56-5e00-7000-8000-00000000ffff"


def told(writer, of, rounds):
    """An execution that ended, with a receipt whose counters are right."""
    tell(writer, of, rounds=rounds, is_ended=False)
    rows = rows_of(of, STORY)
    pairs = zip(*(rows.column(name).to_pylist() for name in ("call", "decision")), strict=True)
    counts = Counter((call.rpartition(".")[2], WORDS[decision]) for call, decision in pairs)
    calls = tuple(CallCount(call=c, decision=d, count=n * rounds) for (c, d), n in sorted(counts.items()))
    writer.end(of.exec_id, replace(receipt(of, records=rounds * len(STORY)), calls=calls))


@pytest.fixture(scope="module")
def unsealed(tmp_path_factory):
    """A log of two writers and two tenants, in three files; one execution was killed."""
    base = tmp_path_factory.mktemp("unsealed")
    KeyFolder(base / "keys").create("example.com/audit")
    writer = AuditWriter(base / "log")
    told(writer, start(number=1), 3)
    event = ControlEvent(event_id=EVENT, at_ns=T0, event="policy", actor="alice", details={"name": "p"})
    writer.record_event(event)
    tell(writer, start(number=2, tenant="acme"), rounds=2, is_ended=False)
    writer.rotate()
    told(writer, start(number=3, tenant="acme"), 1)
    writer.close()
    other = AuditWriter(base / "log")
    told(other, start(number=4), 20)
    other.close()
    return base


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    faults = Faults(tmp_path_factory.mktemp("faults"))
    with faults.forks(CODE) as made:
        yield made


@dataclass(slots=True)
class Place:
    """One log that is copied for each try."""

    forks: Forks
    kept: Path
    folder: Path

    def fresh(self) -> Path:
        self.forks.faults.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.kept, self.folder)
        return self.folder

    def run(self, what: str) -> Done:
        return self.forks.run(what, self.folder)

    def points(self, call: str, what: str) -> int:
        return self.forks.points(call, under=self.fresh(), arguments=[what, self.folder])

    def check(self) -> None:
        """Seal and sign without a fault, and look at all of it."""
        self.forks.faults.clear()
        done = self.run("seal")
        assert (done.status, json.loads(done.text)["failure"]) == (0, None), done.text
        signed = self.run("sign")
        assert (signed.status, json.loads(signed.text)["problem"]) == (0, None), signed.text
        receipts, _ = check_sealed(self.folder / "log")
        assert sorted((one.records, one.outcome.kind.value) for one in receipts.values()) == [
            (11, "exited"), (22, "killed"), (33, "exited"), (220, "exited"),
        ]  # fmt: skip
        check_signed(self.folder / "log", self.folder / "keys/signing.vkey", self.folder / "remembered")


@pytest.fixture
def place(unsealed, forks, tmp_path):
    forks.faults.clear()
    yield Place(forks, unsealed, tmp_path / "copy")
    forks.faults.clear()


def tries(points: int, most: int) -> range:
    """Points that are tried: so many, at the least one, from all over."""
    return range(points // most // 2, points, points // most + 1)


@pytest.mark.parametrize(("call", "most"), TRIES)
def test_a_call_of_the_sealer_that_fails_is_made_good_when_it_seals_again(place, call, most):
    for number in tries(place.points(call, "seal"), most):
        times = 1 if number % 2 else -1  # once, or from then on
        error = ERRORS[number // 2 % 4]
        rule = place.forks.faults.fail(call, under=place.fresh(), error=error, skip=number, times=times)
        done = place.run("seal")
        assert (done.status, rule.hit > 0) == (0, True), done.text
        place.check()


@pytest.mark.parametrize(("call", "most"), TRIES)
@pytest.mark.parametrize("is_after", [False, True])
def test_a_sealer_that_is_killed_at_a_call_is_made_good(place, call, is_after, most):
    for number in tries(place.points(call, "seal"), most):
        rule = place.forks.faults.kill(call, under=place.fresh(), skip=number, is_after=is_after)
        done = place.run("seal")
        assert (done.status, rule.hit) == (-9, 1)
        place.check()


@pytest.mark.parametrize(("call", "most"), TRIES)
@pytest.mark.parametrize("how", ["fails", "before", "after"])
def test_a_signer_that_fails_or_is_killed_signs_the_same_head_the_next_time(place, call, how, most):
    place.fresh()
    assert place.run("seal").status == 0
    place.kept = place.folder.with_name("sealed")
    shutil.copytree(place.folder, place.kept)
    for number in tries(place.points(call, "sign"), most):
        faults, folder = place.forks.faults, place.fresh()
        if how == "fails":
            faults.fail(call, under=folder, error=ERRORS[number % 4], skip=number)
        else:
            faults.kill(call, under=folder, skip=number, is_after=how == "after")
        assert place.run("sign").status in ({0, 1} if how == "fails" else {-9})
        place.check()

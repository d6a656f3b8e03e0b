"""The signer's own process: it signs when poked and by itself, comes back when killed, and ends with its parent."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from api.settings import load_settings
from api.signing import SignerProcess, SignerStatus, ensure_key, open_signer, sign_once
from audit import canonical
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.errors import KeyFileError
from audit.tlog.key_files import KeyFolder
from audit.tlog.log import TransparencyLog
from audit.tlog.receipt_notes import open_receipt_note
from tests.tlogs import entries_of

WAIT_S = 20.0
EXEC_ID = "01a1ee56-5e00-7000-8000-000000000001"


@pytest.fixture
def settings(tmp_path):
    return load_settings({}, home=tmp_path / "home")


@pytest.fixture
def log(settings):
    log = TransparencyLog(settings.audit_dir / "tlog")
    log.append(entries_of(10))
    return log


class Problems:
    """What the signer complains of, and when."""

    def __init__(self):
        self.said: list[str] = []
        self._heard = threading.Event()

    def __call__(self, problem):
        self.said.append(problem)
        self._heard.set()

    def wait(self):
        assert self._heard.wait(WAIT_S)
        self._heard.clear()


@pytest.fixture
def problems():
    return Problems()


@pytest.fixture
def signer(settings, log, problems):
    signer = open_signer(settings, on_problem=problems)
    yield signer
    signer.close()


def published(settings):
    keys = KeyFolder(settings.audit_keys_dir)
    content = (settings.audit_dir / "tlog/checkpoint").read_bytes()
    return open_checkpoint(content, settings.audit_origin, [keys.load().verifier]).checkpoint


def test_it_signs_what_is_there_and_what_it_is_poked_about(settings, log, signer):
    assert signer.wait(10, timeout_s=WAIT_S) == SignerStatus(10)
    for size in (11, 300):
        log.append(entries_of(size - log.size, first=log.size))
        signer.poke()
        assert signer.wait(size, timeout_s=WAIT_S) == SignerStatus(size)
        assert published(settings).size == size


def test_it_looks_by_itself(settings, log, signer):
    signer.wait(10, timeout_s=WAIT_S)
    log.append([b"x"])
    assert signer.wait(11, timeout_s=WAIT_S).size == 11
    assert published(settings).root == log.root()


def test_the_key_is_in_another_process(signer, settings):
    signer.wait(10, timeout_s=WAIT_S)  # a process that is about to begin has no environment yet
    assert signer.pid != os.getpid()
    environment = Path(f"/proc/{signer.pid}/environ").read_bytes()
    assert {item.partition(b"=")[0] for item in environment.split(b"\0") if item} == {
        b"PYTHONPATH",
        b"LC_ALL",
    }


def test_killed_it_comes_back_and_signs_what_was_appended_meanwhile(settings, log, signer, problems):
    signer.wait(10, timeout_s=WAIT_S)
    first = signer.pid
    os.kill(first, signal.SIGKILL)
    log.append([b"x"])
    problems.wait()
    assert problems.said == ["the signer ended with -9; it is started again"]
    _until(lambda: signer.status == SignerStatus(11))
    assert signer.pid != first
    assert published(settings).size == 11


def _until(is_so, *, tick=threading.Event()):  # noqa: B008  # an event that nobody sets is a clock
    for _ in range(int(WAIT_S * 50)):
        if is_so():
            return
        tick.wait(0.02)
    pytest.fail("it did not come to pass")


def test_it_refuses_a_log_that_was_put_back_says_so_once_and_signs_when_it_is_whole(
    settings, log, signer, problems, tmp_path
):
    signer.wait(10, timeout_s=WAIT_S)
    shutil.copytree(log.directory, tmp_path / "good")
    shutil.rmtree(log.directory)
    TransparencyLog(log.directory).append([b"another", *entries_of(20)])
    signer.poke()
    problems.wait()
    for _ in range(3):
        signer.poke()
    assert "refused to sign a head of 21 leaves: a tree of 10 leaves is signed" in str(signer.status.problem)
    assert len(problems.said) == 1
    assert not (log.directory / "checkpoint").exists()
    shutil.rmtree(log.directory)
    shutil.copytree(tmp_path / "good", log.directory)
    TransparencyLog(log.directory).append([b"x"])
    signer.poke()
    _until(lambda: signer.status == SignerStatus(11))


def test_closed_it_signs_what_is_left_and_ends(settings, log, signer):
    signer.wait(10, timeout_s=WAIT_S)
    log.append([b"x"])
    signer.close()
    assert published(settings).size == 11
    with pytest.raises(ProcessLookupError):
        os.kill(signer.pid, 0)
    signer.poke()
    signer.close()


def test_it_dies_with_a_parent_that_is_killed(settings, log):
    ensure_key(settings)
    script = (
        "import sys; from pathlib import Path; from api.signing import SignerProcess\n"
        "signer = SignerProcess(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "signer.wait(10, timeout_s=20); print(signer.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(settings.audit_dir), str(settings.audit_keys_dir)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    _until(
        lambda: not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    )


def test_receipts_are_signed_with_the_head_that_covers_them(settings, log, signer):
    receipts = settings.audit_dir / "exec"
    receipts.mkdir()
    (receipts / f"{EXEC_ID}.receipt.json").write_bytes(b"{}\n")
    log.append([canonical.dumps({"type": "receipt", "v": 1, "exec_id": EXEC_ID, "sha256": "ab" * 32})])
    signer.poke()
    assert signer.wait(11, timeout_s=WAIT_S).problem is None
    note = (receipts / f"{EXEC_ID}.receipt.note").read_bytes()
    key = KeyFolder(settings.audit_keys_dir).load().verifier
    assert open_receipt_note(note, [key]) == (EXEC_ID, "ab" * 32)


def test_once_it_signs_and_is_gone(settings, log):
    assert sign_once(settings) == SignerStatus(10)
    assert sign_once(settings) == SignerStatus(10)
    log.append([b"x"])
    assert sign_once(settings) == SignerStatus(11)
    assert published(settings).size == 11


def test_once_it_says_why_it_did_not_sign(settings, log):
    sign_once(settings)
    KeyFolder(settings.audit_keys_dir).signing.chmod(0o644)
    with pytest.raises(KeyFileError, match="mode 644"):
        sign_once(settings)
    KeyFolder(settings.audit_keys_dir).signing.chmod(0o600)
    (settings.audit_dir / "tlog/head").unlink()
    assert "the file is missing" in str(sign_once(settings).problem)


def test_a_signed_log_whose_key_is_gone_gets_no_new_one(settings, log):
    sign_once(settings)
    shutil.rmtree(settings.audit_keys_dir)
    ensure_key(settings)
    assert not settings.audit_keys_dir.exists()
    assert "there are no keys yet" in str(sign_once(settings).problem)


def test_a_signer_without_keys_complains_and_goes_on(settings, log, problems):
    signer = SignerProcess(settings.audit_dir, settings.audit_keys_dir, on_problem=problems)
    try:
        problems.wait()
        assert "there are no keys yet" in str(signer.status.problem)
        ensure_key(settings)
        signer.poke()
        _until(lambda: signer.status == SignerStatus(10))
    finally:
        signer.close()

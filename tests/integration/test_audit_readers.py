"""Ten processes page through the log while it is written, sealed and deleted: each record once, whole, in order."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from api.sealer_process import SealerProcess
from audit.filters import RecordFilter
from audit.query import AuditReader
from audit.store import Store
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import STORY, pack, receipt, start

ROOT = Path(__file__).resolve().parents[2]
READERS, PASSES, ROUNDS, LIVE = 10, 3, 30, 3
COLUMNS = ("exec_id", "seq", "t_ns", "call", "decision", "guest_target", "bytes_in", "tenant_id")
PAGES = """
import os, sys, traceback
from tests.integration.test_audit_readers import page
if __name__ == "__main__":
    children = []
    for number in range(int(sys.argv[3])):
        child = os.fork()
        if not child:
            status = 1
            try:
                page(sys.argv[1], sys.argv[2], number)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def acknowledged(path: Path) -> dict[str, int]:
    """What the writer said was durable by now: records by execution."""
    lines = path.read_text().splitlines(keepends=True)
    return {line[:36]: int(line[37:]) for line in lines if line.endswith("\n")}


def expected() -> list[tuple[str, str, str | None, int]]:
    """What a reader has to find of each record of the story."""
    with_text = {"path_open", "path_unlink_file", "path_rename"}
    return [
        (
            f"wasi_snapshot_preview1.{one.call}",
            {0: "allow", 1: "deny", 2: "would_deny"}[one.fields.get("decision", 0)],
            one.path.decode().rpartition("/")[2] if one.call in with_text else None,
            one.fields.get("aux", 0) if one.call == "fd_read" else 0,
        )
        for one in STORY
    ]


def look(root: Path, reader: AuditReader, *, is_ascending: bool) -> dict[str, int]:
    """Page through everything; give how many records of each execution there are, if all is as it must be."""
    counts: dict[str, list[int]] = {}
    story, before = expected(), None
    for row in reader.stream(RecordFilter(ascending=is_ascending, fields=COLUMNS), limit=None):
        name, seq, t_ns = str(row["exec_id"]), int(row["seq"] or 0), int(row["t_ns"] or 0)
        key = (t_ns, name, seq)
        assert before is None or (before < key if is_ascending else before > key), (before, key)
        before = key
        counts.setdefault(name, []).append(seq)
        call, decision, ending, moved = story[seq % len(STORY)]
        assert (row["call"], row["decision"], row["tenant_id"]) == (call, decision, "default")
        assert ending is None or str(row["guest_target"]).endswith(ending)
        assert call != "wasi_snapshot_preview1.fd_read" or row["bytes_in"] == moved
    for name, seqs in counts.items():
        whole = list(range(len(seqs))) if is_ascending else list(range(len(seqs)))[::-1]
        odd = [(at, one) for at, one in enumerate(seqs) if one != whole[at]]
        assert not odd, f"{name}, {is_ascending=}: {len(odd)} of {len(seqs)} from (place, seq) {odd[0]} on"
    return {name: len(seqs) for name, seqs in counts.items()}


def page(root: str, known: str, number: int) -> None:
    """Page through the log again and again, until the writer is done and one pass more; say each."""
    done, passes = Path(f"{known}.done"), 0
    with AuditReader(Path(root), decode) as reader:
        is_over = False
        while not is_over:
            is_over = done.exists()
            promised = acknowledged(Path(known))
            found = look(Path(root), reader, is_ascending=(number + passes) % 2 == 0)
            assert all(found.get(name, 0) >= count for name, count in promised.items())
            assert not is_over or found == promised
            passes += 1
            os.write(1, b"%d\n" % number)


class Writing:
    """Three executions at a time, a few rounds for each pass of a reader."""

    def __init__(self, root: Path, known: Path) -> None:
        self.writer, self.known = AuditWriter(root), known.open("a")
        self.tokens, self.over, self.begun = threading.Semaphore(ROUNDS), threading.Event(), threading.Lock()
        self.number = 0
        self.failures: list[BaseException] = []

    def work(self) -> None:
        try:
            while not self.over.is_set():
                self._execution()
        except BaseException as err:  # noqa: BLE001  # for the thread that started this one
            self.failures.append(err)

    def close(self) -> None:
        self.writer.close()
        self.known.close()

    def _execution(self) -> None:
        with self.begun:  # a later execution has later times, as in a service
            of, self.number = start(number=self.number), self.number + 1
            self.writer.begin(of)
        done = 0
        while done < 60 * len(STORY) and not self.over.is_set():
            if not self.tokens.acquire(timeout=0.1):
                continue
            made, arena = pack(STORY, first_seq=done, t0=of.started_at_ns)
            made["opener"][made["opener"] >= 0] += done
            made["aux"][[one.call == "path_rename" for one in STORY]] = -3
            self.writer.append(of.exec_id, first_seq=done, records=made.tobytes(), arena=arena)
            self.writer.commit(of.exec_id)
            done += len(STORY)
            with self.begun:
                self.known.write(f"{of.exec_id} {done}\n")
                self.known.flush()
        self.writer.end(of.exec_id, receipt(of, records=done))


def test_ten_processes_see_each_record_once_while_it_is_written_sealed_and_deleted(tmp_path):
    root, known = tmp_path / "log", tmp_path / "known"
    writing = Writing(root, known)
    sealer = SealerProcess(root, keys_dir=None)
    threads = [threading.Thread(target=writing.work) for _ in range(LIVE)]
    readers = subprocess.Popen(
        [sys.executable, "-c", PAGES, str(root), str(known), str(READERS)], stdout=subprocess.PIPE, cwd=ROOT
    )
    files, passes = 0, dict.fromkeys(range(READERS), 0)
    with readers:
        assert readers.stdout is not None
        for thread in threads:
            thread.start()
        for line in readers.stdout:
            passes[int(line)] += 1
            writing.tokens.release(ROUNDS // READERS)
            if not writing.over.is_set():
                writing.writer.rotate()
                files += len(sealer.seal())
            if min(passes.values()) >= PASSES and not writing.over.is_set():
                writing.over.set()
                for thread in threads:
                    thread.join()
                Path(f"{known}.done").touch()
        writing.over.set()
    for thread in threads:
        thread.join()
    writing.close()
    sealer.seal()
    sealer.close()
    assert (writing.failures, readers.returncode) == ([], 0)
    assert min(passes.values()) > PASSES
    assert files > READERS
    assert not list(Store(root).wal.glob("[!.]*.wal"))
    with AuditReader(root, decode) as reader:
        assert look(root, reader, is_ascending=True) == acknowledged(known)

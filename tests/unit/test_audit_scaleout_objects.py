"""The log on object storage: sent once, never replaced, fetched back, and verified there."""

from __future__ import annotations

import logging
import shutil
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from moto.s3.models import s3_backends

from api.cli import wasmgate
from audit import canonical
from audit.canonical import Json
from audit.errors import FormatError
from audit.events import ControlEvent
from audit.filters import RecordFilter
from audit.pruning import GOING
from audit.query import AuditReader
from audit.recovery import recover
from audit.scaleout.errors import BackendError, ConflictError, StoreError
from audit.scaleout.holdings import PruneLeaf, ReceiptLeaf, SegmentLeaf, holding
from audit.scaleout.objects import Objects, Place
from audit.scaleout.pulling import Puller
from audit.scaleout.pushing import Pusher
from audit.store import Store
from audit.tlog.key_files import KeyFolder
from audit.tlog.log import TransparencyLog
from audit.tlog.vkey import parse_vkey
from audit.verify import standalone
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import start, tell
from tests.sealed_logs import SealedLog, real_log

SECRET = "not-a-real-secret"
CLOSED = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def endpoint():
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def objects(endpoint, monkeypatch):
    """An empty bucket; whatever is sent elsewhere than to this machine ends at a closed port."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, CLOSED)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    s3 = s3_backends["123456789012"]["aws"]
    if "wasmgate-test" in s3.buckets:
        for name in list(keys()):
            del keys()[name]
    else:
        s3.create_bucket("wasmgate-test", "us-east-1")
    return Objects(place(endpoint))


def place(endpoint):
    found = Place.parse("s3://wasmgate-test/logs/one", endpoint=endpoint)
    return replace(found, key_id="dummy", secret=SECRET, retries=0)


def keys():
    """The objects in the bucket, by name below its folder."""
    return s3_backends["123456789012"]["aws"].buckets["wasmgate-test"].keys


def stored(name):
    return next(key for key in keys() if key.endswith(name))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return real_log(tmp_path_factory.mktemp("original"))


@pytest.fixture
def log(original, tmp_path):
    shutil.copytree(original.folder.parent, tmp_path / "log")
    folder = tmp_path / "log" / "audit"
    return replace(
        original,
        folder=folder,
        keys=KeyFolder(folder.parent / "keys"),
        log=TransparencyLog(folder / "tlog"),
    )


def files(root: Path):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for kind in ("seg", "exec", "tlog") for path in sorted((root / kind).rglob("*")) if path.is_file()
    }  # fmt: skip


def verified(root: Path, log: SealedLog):
    return standalone.verify(str(root), [standalone.key_of(log.vkey)])[0].status


def test_what_is_pushed_comes_back_and_verifies(log, objects, tmp_path):
    sent = Pusher(Store(log.folder), objects).push()
    assert (sent.leaves, sent.there) == (log.log.size, 0)
    copy = Store(tmp_path / "copy")
    got = Puller(copy, objects, keys=[parse_vkey(log.vkey)]).pull()
    assert (got.leaves, got.objects) == (sent.leaves, sent.objects)
    mine, theirs = files(log.folder), files(copy.root)
    assert {name: theirs[name] for name in theirs if ".p/" not in name} == {
        name: mine[name] for name in mine if ".p/" not in name
    }
    assert verified(copy.root, log) == 0
    with AuditReader(log.folder, decode) as one, AuditReader(copy.root, decode) as other:
        assert list(other.stream(RecordFilter())) == list(one.stream(RecordFilter()))
    assert Puller(copy, objects).pull().objects == 0


def test_pushing_again_sends_nothing_and_then_only_what_is_new(log, objects, tmp_path):
    pusher = Pusher(Store(log.folder), objects)
    first = pusher.push()
    assert pusher.push().objects == 0
    assert pusher.push(is_full=True).objects == 0
    writer = AuditWriter(log.folder)
    tell(writer, start(number=50), is_ended=False)
    writer.close()
    recover(log.folder, decode)
    log.sign()
    more = pusher.push()
    assert more.leaves > first.leaves
    assert 0 < more.objects < first.objects
    copy = Store(tmp_path / "copy")
    Puller(copy, objects).pull()
    assert verified(copy.root, log) == 0


def test_a_push_that_was_broken_off_goes_on(log, objects, monkeypatch, tmp_path):
    put, count = objects.put_new, []

    def failing(name, content):
        count.append(name)
        if len(count) == 9:
            raise StoreError(name, "the line is cut")
        return put(name, content)

    monkeypatch.setattr(objects, "put_new", failing)
    pusher = Pusher(Store(log.folder), objects)
    with pytest.raises(StoreError, match="the line is cut"):
        pusher.push()
    assert objects.get("tlog/checkpoint", most=1 << 16) is None  # last, so this is no copy yet
    with pytest.raises(StoreError, match="there is no copy"):
        Puller(Store(tmp_path / "copy"), objects).pull()
    done = pusher.push()
    assert done.there >= 7
    Puller(Store(tmp_path / "copy"), objects).pull()
    assert verified(tmp_path / "copy", log) == 0


def test_a_pull_adds_what_is_missing_and_replaces_nothing(log, objects, tmp_path):
    Pusher(Store(log.folder), objects).push()
    gone = min(log.folder.rglob("*.parquet"))
    other = min(log.folder.rglob("*.chunks"))
    gone.unlink()
    other.write_bytes(b"mine")
    assert Puller(Store(log.folder), objects).pull().objects == 1
    assert gone.exists()
    assert other.read_bytes() == b"mine"  # for `audit verify` to find


CHANGES = [("000000.parquet", "replaced"), (".manifest.json", "cut"), ("tile/entries/000.p/", "replaced")]
MORE_CHANGES = [
    (name, change)
    for name in ("000000.parquet", ".manifest.json", ".receipt.json", "tile/entries/000.p/", "tile/0/000.p/")
    for change in ("replaced", "cut")
    if (name, change) not in CHANGES
]


@pytest.mark.parametrize(
    ("name", "change"), [*CHANGES, *(pytest.param(*one, marks=pytest.mark.slow) for one in MORE_CHANGES)]
)
def test_an_object_that_somebody_changed_is_noticed(log, objects, tmp_path, name, change):
    pusher = Pusher(Store(log.folder), objects)
    pusher.push()
    key = next(one for one in keys() if name in one)
    content = keys()[key].value
    keys()[key].value = content[:-1] + bytes([content[-1] ^ 1]) if change == "replaced" else content[:-3]
    copy = Store(tmp_path / "copy")
    with pytest.raises(StoreError):
        Puller(copy, objects).pull()
    assert not any(content == keys()[key].value for content in files(copy.root).values())
    with pytest.raises(ConflictError, match="left as it is"):
        pusher.push(is_full=True)
    assert keys()[key].value != content
    keys()[key].value = content
    assert pusher.push(is_full=True).objects == 0
    Puller(copy, objects).pull()
    assert verified(copy.root, log) == 0


def test_an_object_that_somebody_deleted_is_noticed_and_sent_again(log, objects, tmp_path):
    pusher = Pusher(Store(log.folder), objects)
    pusher.push()
    del keys()[stored(".deny.parquet")]
    with pytest.raises(StoreError, match="missing"):
        Puller(Store(tmp_path / "copy"), objects).pull()
    assert pusher.push(is_full=True).objects == 1
    Puller(Store(tmp_path / "copy"), objects).pull()


def test_names_that_others_put_there_are_not_even_seen(log, objects, tmp_path):
    Pusher(Store(log.folder), objects).push()
    s3 = s3_backends["123456789012"]["aws"]
    for name in (
        "../../evil",
        "logs/one/../x",
        "logs/one/seg/../../evil",
        "logs/one/exec/ \n",
        *(f"logs/one/exec/{n}" for n in range(2_000)),
    ):
        s3.put_object("wasmgate-test", name, b"x")
    Puller(Store(tmp_path / "copy"), objects).pull()
    assert verified(tmp_path / "copy", log) == 0
    assert not list(tmp_path.rglob("evil*"))


def test_a_copy_of_another_log_is_left_alone(log, objects, tmp_path):
    Pusher(Store(log.folder), objects).push()
    other = real_log(tmp_path / "other")
    with pytest.raises(ConflictError, match="not those of this log"):
        Pusher(Store(other.folder), objects).push()
    before = files(other.folder)
    with pytest.raises(ConflictError, match="not those of the log here"):
        Puller(Store(other.folder), objects).pull()
    assert files(other.folder) == before


def test_a_log_that_was_rolled_back_does_not_replace_a_longer_copy(original, log, objects, tmp_path):
    shutil.copytree(log.folder, tmp_path / "old")
    writer = AuditWriter(log.folder)
    tell(writer, start(number=51), is_ended=False)
    writer.close()
    recover(log.folder, decode)
    log.sign()
    Pusher(Store(log.folder), objects).push()
    with pytest.raises(ConflictError, match="pull first"):
        Pusher(Store(tmp_path / "old"), objects).push()
    Puller(Store(tmp_path / "old"), objects).pull()
    assert verified(tmp_path / "old", log) == 0


def prune(log, *segments, held=()):
    """Put it on record that segments are deleted, and delete those that no hold keeps."""
    writer = AuditWriter(log.folder)
    writer.record_event(
        ControlEvent(
            event_id=str(uuid.uuid4()),
            at_ns=1_795_000_000_000_000_000,
            event="prune",
            actor="test",
            details={"segments": "\n".join(segments)},
        )
    )
    writer.close()
    recover(log.folder, decode)
    log.sign()
    for path in (log.folder / one for one in segments if one not in held):
        for suffix in GOING:
            path.with_suffix(suffix).unlink(missing_ok=True)


def test_what_was_deleted_here_is_deleted_there_when_asked_for(log, objects):
    pusher = Pusher(Store(log.folder), objects)
    pusher.push()
    names = sorted(
        str(path.relative_to(log.folder))
        for path in log.folder.rglob("*.parquet")
        if path.name.count(".") == 1
    )
    assert len(names) > 1
    assert pusher.delete_pruned() == 0  # nothing says so
    prune(log, *names[:2], held=names[1:2])
    pusher.push()
    assert any(key.endswith(names[0]) for key in keys())  # a copy keeps what it has
    assert pusher.delete_pruned() in {2, 3}
    stem = names[0].removesuffix(".parquet")
    of_it = {key.rpartition(stem)[2] for key in keys() if stem in key}
    assert of_it == {".manifest.json", ".chunks"}
    assert any(key.endswith(names[1]) for key in keys())  # a hold keeps it
    assert pusher.delete_pruned() == 0


@pytest.mark.parametrize("name", ["tlog/checkpoint", "../../other/x.parquet", "exec/a.parquet", ""])
def test_a_prune_event_deletes_nothing_but_records(log, objects, name):
    pusher = Pusher(Store(log.folder), objects)
    prune(log, name, held=[name])
    pusher.push()
    before = set(keys())
    assert pusher.delete_pruned() == 0
    assert set(keys()) == before


def test_an_unsigned_deletion_is_not_followed(log, objects):
    pusher = Pusher(Store(log.folder), objects)
    pusher.push()
    (name, *_) = sorted(str(path.relative_to(log.folder)) for path in log.folder.rglob("*.deny.parquet"))
    signed = (log.folder / "tlog" / "checkpoint").read_bytes()
    prune(log, name.replace(".deny.parquet", ".parquet"))
    (log.folder / "tlog" / "checkpoint").write_bytes(signed)
    assert pusher.delete_pruned() == 0
    assert any(key.endswith(name) for key in keys())


def test_a_copy_that_another_key_signed_is_refused(log, objects, tmp_path):
    Pusher(Store(log.folder), objects).push()
    other = SealedLog.create(tmp_path / "other")
    with pytest.raises(ConflictError, match="signature"):
        Puller(Store(tmp_path / "copy"), objects, keys=[parse_vkey(other.vkey)]).pull()
    assert not (tmp_path / "copy").exists()


def test_a_file_that_is_not_the_logs_is_not_sent(log, objects):
    path = min(log.folder.rglob("*.rollup.parquet"))
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(StoreError, match="not sent"):
        Pusher(Store(log.folder), objects).push()
    assert objects.get("tlog/checkpoint", most=1 << 16) is None


def test_a_log_without_a_signature_is_not_pushed(tmp_path, objects):
    writer = AuditWriter(tmp_path / "log")
    tell(writer, start())
    writer.close()
    with pytest.raises(StoreError, match="nothing is signed yet"):
        Pusher(Store(tmp_path / "log"), objects).push()


def test_somebody_who_pushes_at_the_same_time_is_noticed(objects):
    objects.replace("tlog/checkpoint", b"one", before=None)
    held = objects.get("tlog/checkpoint", most=100)
    objects.replace("tlog/checkpoint", b"two", before=held)
    with pytest.raises(ConflictError, match="meanwhile"):
        objects.replace("tlog/checkpoint", b"three", before=held)
    with pytest.raises(ConflictError, match="meanwhile"):
        objects.replace("tlog/checkpoint", b"three", before=None)


def test_a_larger_object_is_not_read(objects):
    assert objects.put_new("exec/a", b"x" * 100)
    with pytest.raises(ConflictError, match="100 bytes"):
        objects.get("exec/a", most=99)


@pytest.mark.parametrize("name", ["../a", "a/../b", "/a", "a//b", "a/.", "a\nb", "a b", ""])
def test_a_hostile_name_reaches_no_storage(objects, name):
    for act in (lambda: objects.put_new(name, b""), lambda: objects.get(name, most=1)):
        with pytest.raises(ConflictError):
            act()


def test_storage_that_is_down_is_an_error_without_keys(log):
    before = files(log.folder)
    down = Objects(place(CLOSED))
    with pytest.raises(StoreError) as caught:
        Pusher(Store(log.folder), down).push()
    assert "s3://wasmgate-test/logs/one/tlog/checkpoint" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(place(CLOSED))
    assert files(log.folder) == before


@pytest.mark.parametrize(
    "text", ["s3://", "http://b/x", "s3://B/x", "s3://bucket/a/../b", "s3://bucket/x?y", "s3://u:p@bucket/x"]
)
def test_what_is_no_place_is_refused(text):
    with pytest.raises(BackendError):
        Place.parse(text)


@pytest.mark.parametrize("endpoint", ["ftp://h", "http://u:p@h", "h:1", "http://h?x=1"])
def test_what_is_no_endpoint_is_refused(endpoint):
    with pytest.raises(BackendError):
        Place.parse("s3://bucket/a", endpoint=endpoint)


def leaf(**fields: Json):
    return canonical.dumps({"v": 1, "sha256": "ab" * 32, **fields})


SEGMENT = "seg/tenant=a/day=2026-11-22/run-1.parquet"


def test_leaves_name_their_files():
    found = holding(
        leaf(type="segment", segment=SEGMENT, manifest=SEGMENT.replace(".parquet", ".manifest.json"))
    )
    assert found == SegmentLeaf(SEGMENT, "ab" * 32)
    exec_id = str(start().exec_id)
    assert holding(leaf(type="receipt", exec_id=exec_id)) == ReceiptLeaf(exec_id, "ab" * 32)
    assert holding(leaf(type="event", event="prune", details={"segments": "a\nb"})) == PruneLeaf(("a", "b"))
    assert holding(leaf(type="refusal")) is None


@pytest.mark.parametrize(
    "segment",
    [
        "seg/../x.parquet",
        "/etc/passwd.parquet",
        "seg/tenant=a/day=2026-11-22/../../x.parquet",
        "seg/tenant=../day=2026-11-22/a.parquet",
        SEGMENT + "\n",
    ],
)
def test_a_hostile_leaf_names_no_file(segment):
    with pytest.raises(FormatError):
        holding(leaf(type="segment", segment=segment, manifest=segment.replace(".parquet", ".manifest.json")))
    with pytest.raises(FormatError):
        holding(leaf(type="receipt", exec_id="../../etc/passwd"))


def test_the_commands_push_and_pull(log, objects, endpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "dummy")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("WASMGATE_HOME", str(tmp_path / "home"))
    where = ["s3://wasmgate-test/x", "--endpoint", endpoint]
    run = CliRunner().invoke(wasmgate, ["audit", "push", "--audit-dir", str(log.folder), "--to", *where])
    assert run.exit_code == 0, run.output
    assert f"{log.log.size} leaves" in run.output
    run = CliRunner().invoke(
        wasmgate,
        ["audit", "pull", "--audit-dir", str(tmp_path / "copy"), "--from", *where, "--key", log.vkey],
    )
    assert run.exit_code == 0, run.output
    assert verified(tmp_path / "copy", log) == 0
    run = CliRunner().invoke(wasmgate, ["audit", "pull", "--audit-dir", str(tmp_path), "--from", "nowhere"])
    assert run.exit_code == 2

"""Checkpoints go out once each, the newest only, and never one that does not extend what was sent."""

from __future__ import annotations

import base64
import shutil
from dataclasses import replace

import pytest

from audit.followers.anchors import Anchoring
from audit.followers.errors import HistoryError, SinkError
from audit.followers.exchange import endpoint
from audit.followers.folder import FolderSink
from audit.followers.state import State
from audit.followers.webhook import CheckpointHook
from audit.followers.witness import WitnessSink
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.errors import NoteError
from audit.tlog.keys import SigningKey
from audit.tlog.log import TransparencyLog
from audit.tlog.vkey import NamedKey, parse_vkey
from tests.receivers import Witness, http_receiver, published, stepped
from tests.sealed_logs import SealedLog
from tests.tlogs import entries_of

NOW_S = 1_795_000_000


class Kept:
    def __init__(self):
        self.sizes = []

    def send(self, signed, *, before):
        self.sizes.append((before, signed.checkpoint.size))


@pytest.fixture
def log(tmp_path):
    made = SealedLog.create(tmp_path)
    grow(made, 5)
    return made


def grow(log, count):
    log.log.append(entries_of(count))
    log.sign()


def anchoring(log, sink, **given):
    return Anchoring(log.log, sink, now=lambda: NOW_S, **given)


def test_each_checkpoint_is_sent_once_and_the_newest_of_several(log):
    sink = Kept()
    work = anchoring(log, sink)
    state = stepped(work)
    assert work.step(state) is None
    grow(log, 3)
    grow(log, 4)
    state = stepped(work, state)
    assert sink.sizes == [(0, 5), (5, 12)]
    assert (state.leaf, state.root, state.done_at_s) == (12, log.log.root().hex(), NOW_S)


def test_a_log_without_a_checkpoint_sends_nothing(tmp_path):
    made = SealedLog.create(tmp_path)
    assert anchoring(made, Kept()).step(State()) is None


@pytest.mark.parametrize(("later_s", "is_sent"), [(59, False), (60, True), (-5, True)])
def test_checkpoints_have_a_distance_in_time_if_one_is_wanted(log, later_s, is_sent):
    sink = Kept()
    state = stepped(anchoring(log, sink, every_s=60))
    grow(log, 1)
    work = Anchoring(log.log, sink, 60, now=lambda: NOW_S + later_s)
    assert (work.step(state) is not None) is is_sent


def test_a_log_that_was_put_back_is_not_anchored(log, tmp_path):
    shutil.copytree(log.folder, tmp_path / "before")
    grow(log, 3)
    sink = Kept()
    state = stepped(anchoring(log, sink))
    old = TransparencyLog(tmp_path / "before" / "tlog")
    with pytest.raises(HistoryError, match="a tree of 8 leaves was sent, and the signed one has 5"):
        Anchoring(old, sink).step(state)
    assert len(sink.sizes) == 1


def test_a_log_with_another_past_is_not_anchored(log):
    state = stepped(anchoring(log, Kept()))
    grow(log, 1)
    with pytest.raises(HistoryError, match="does not begin with it"):
        anchoring(log, Kept()).step(replace(state, root="ab" * 32))


def test_a_checkpoint_with_a_false_signature_is_not_sent(log):
    path = log.log.directory / "checkpoint"
    path.write_bytes(path.read_bytes().replace(b"\n5\n", b"\n4\n"))
    sink = Kept()
    with pytest.raises(NoteError):
        anchoring(log, sink).step(State())
    assert sink.sizes == []


# --- a folder -----------------------------------------------------------------------------------


def test_a_folder_gets_a_file_for_each_and_loses_none(log, tmp_path):
    (tmp_path / "off").mkdir()
    sink = FolderSink(tmp_path / "off")
    work = anchoring(log, sink)
    state = stepped(work)
    grow(log, 2)
    work.step(state)
    work.step(state)  # as after a crash
    notes = {path.name.partition("-")[0]: path.read_bytes() for path in (tmp_path / "off").iterdir()}
    assert sorted(notes) == ["5", "7"]
    assert notes["7"] == (log.log.directory / "checkpoint").read_bytes()


def test_a_file_that_is_there_is_never_replaced(log, tmp_path):
    sink = FolderSink(tmp_path)
    anchoring(log, sink).step(State())
    (path,) = tmp_path.glob("*.checkpoint")
    path.write_bytes(b"somebody else")
    with pytest.raises(SinkError, match="holds something else"):
        anchoring(log, sink).step(State())
    assert path.read_bytes() == b"somebody else"


def test_a_folder_that_is_not_there_is_not_made(log, tmp_path):
    with pytest.raises(SinkError, match="No such file"):
        anchoring(log, FolderSink(tmp_path / "off")).step(State())
    assert not (tmp_path / "off").exists()


# --- a webhook ----------------------------------------------------------------------------------


def test_a_webhook_gets_the_note(log):
    with http_receiver() as receiver:
        anchoring(log, CheckpointHook(endpoint(receiver.url))).step(State())
    assert receiver.got[0].body == (log.log.directory / "checkpoint").read_bytes()


@pytest.mark.parametrize("status", [302, 400, 500])
def test_a_webhook_that_does_not_take_it_gets_it_again(log, status):
    with (
        http_receiver(lambda _got: (status, "text/plain", b"")) as receiver,
        pytest.raises(SinkError, match=f"it answered {status}"),
    ):
        anchoring(log, CheckpointHook(endpoint(receiver.url))).step(State())


# --- a witness ----------------------------------------------------------------------------------

KEY = NamedKey("witness.example/w", SigningKey.generate())
OTHER = NamedKey("other.example/w", SigningKey.generate())


def witness_of(key=KEY):
    return Witness(lambda text: key.cosign(text, NOW_S).line)


def asking(log, url, tmp_path, key=KEY):
    return anchoring(log, WitnessSink(endpoint(url), key.witness, log.log, tmp_path / "lock"))


def witnessed(log, *keys):
    content = (log.log.directory / "checkpoint.witnessed").read_bytes()
    vkey = parse_vkey(log.vkey)
    found = open_checkpoint(content, vkey.name, [vkey], witnesses=[key.witness for key in keys])
    return found.checkpoint.size, {key.name for key in found.signers} - {vkey.name}


def test_a_witness_checks_each_step_and_its_cosignature_is_published(log, tmp_path):
    with http_receiver(witness_of()) as receiver:
        work = asking(log, f"{receiver.url}/log", tmp_path)
        state = State()
        for count in (1, 2, 7, 300, 1):
            state = stepped(work, state)
            assert witnessed(log, KEY) == (log.log.size, {KEY.name})
            grow(log, count)
        assert {got.path for got in receiver.got} == {"/log/add-checkpoint"}
    assert len(receiver.got) == 5


@pytest.mark.parametrize("behind", [0, 3])
def test_a_witness_that_has_seen_another_size_is_asked_with_that_one(log, tmp_path, behind):
    witness = witness_of()
    if behind:
        witness.seen = (3, log.log.hash_of_tree(3))
    with http_receiver(witness) as receiver:
        state = replace(State(), leaf=2, root=log.log.hash_of_tree(2).hex())
        asking(log, receiver.url, tmp_path).step(state)
    assert witnessed(log, KEY) == (5, {KEY.name})
    assert len(receiver.got) == 2


def test_a_witness_that_has_seen_more_than_is_signed_is_an_alarm(log, tmp_path):
    witness = witness_of()
    witness.seen = (9, b"x" * 32)
    with (
        http_receiver(witness) as receiver,
        pytest.raises(SinkError, match=r"has seen 9 leaves .* cut or replaced"),
    ):
        asking(log, receiver.url, tmp_path).step(State())


def test_a_witness_that_has_seen_another_tree_refuses_and_is_believed(log, tmp_path):
    witness = witness_of()
    witness.seen = (3, b"x" * 32)
    with http_receiver(witness) as receiver, pytest.raises(SinkError, match="does not extend what it saw"):
        asking(log, receiver.url, tmp_path).step(State())
    assert not (log.log.directory / "checkpoint.witnessed").exists()


def test_two_witnesses_of_one_checkpoint_stand_in_one_note(log, tmp_path):
    with http_receiver(witness_of()) as one, http_receiver(witness_of(OTHER)) as two:
        asking(log, one.url, tmp_path).step(State())
        asking(log, two.url, tmp_path, OTHER).step(State())
        asking(log, two.url, tmp_path, OTHER).step(State())  # again: no line twice
    assert witnessed(log, KEY, OTHER) == (5, {KEY.name, OTHER.name})
    assert (log.log.directory / "checkpoint.witnessed").read_bytes().count("—".encode()) == 3


def lying(kind):
    text_of = {
        "another key": lambda text: NamedKey(KEY.name, OTHER.key).cosign(text, NOW_S).line,
        "another text": lambda text: KEY.cosign(text.replace("5", "6"), NOW_S).line,
        "a forged line": lambda _text: (
            f"— {KEY.name} {base64.b64encode(KEY.witness.key_id.to_bytes(4, 'big') + bytes(72)).decode()}\n"
        ),
        "nothing": lambda _text: "",
        "garbage": lambda _text: "\x00\x01 yes\n",
        "a note signature": lambda text: KEY.sign(text).line,
    }
    return Witness(text_of[kind])


@pytest.mark.parametrize(
    "kind", ["another key", "another text", "a forged line", "nothing", "garbage", "a note signature"]
)
def test_what_a_lying_witness_answers_is_not_published(log, tmp_path, kind):
    with http_receiver(lying(kind)) as receiver, pytest.raises(SinkError, match="cosignature"):
        asking(log, receiver.url, tmp_path).step(State())
    assert not (log.log.directory / "checkpoint.witnessed").exists()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((403, "text/plain", b""), "knows no key"), ((404, "text/plain", b""), "does not know this log"),
        ((400, "text/plain", b""), "can't read"), ((500, "text/plain", b""), "did not cosign"), ((302, "text/plain", b""), "did not cosign"),
        ((409, "text/plain", b"3\n"), "without the size"), ((409, "text/x.tlog.size", b"-1\n"), "without the size"),
        ((409, "text/x.tlog.size", b"3"), "without the size"), ((409, "text/x.tlog.size", b"\xff\n"), "without the size"),
        ((409, "text/x.tlog.size", b"0\n"), "names the size that it was told"), ((409, "text/x.tlog.size", b"2\n"), "did not cosign"),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_cosignature_is_an_error(log, tmp_path, answer, says):
    with http_receiver(lambda _got: answer) as receiver, pytest.raises(SinkError, match=says):
        asking(log, receiver.url, tmp_path).step(State())


def test_lines_of_others_in_an_answer_count_for_nothing(log, tmp_path):
    both = Witness(lambda text: OTHER.cosign(text, NOW_S).line + KEY.cosign(text, NOW_S).line)
    with http_receiver(both) as receiver:
        asking(log, receiver.url, tmp_path).step(State())
    assert witnessed(log, KEY, OTHER) == (5, {KEY.name})


def test_the_published_checkpoint_is_not_touched(log, tmp_path):
    before = (log.log.directory / "checkpoint").read_bytes()
    with http_receiver(witness_of()) as receiver:
        asking(log, receiver.url, tmp_path).step(State())
    assert (log.log.directory / "checkpoint").read_bytes() == before
    assert published(log.log).checkpoint.size == 5

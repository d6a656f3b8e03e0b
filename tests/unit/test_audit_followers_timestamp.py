"""A time stamp is kept only if the configured authority made it, now, of this very checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit.followers.errors import SinkError
from audit.followers.exchange import endpoint
from audit.followers.timestamp import (
    Timestamp,
    TimestampSink,
    load_certificates,
    timestamps,
    verify_timestamp,
)
from tests.receivers import Issuer, http_receiver, published
from tests.sealed_logs import small_log
from tests.time_authority import TimeAuthority

STAMPED = Path(__file__).resolve().parents[1] / "data" / "timestamps"


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("log")).log


def sent(log, authority, directory, roots=None):
    with http_receiver(authority) as receiver:
        certificates = load_certificates(roots or authority.issuer.pem)
        sink = TimestampSink(endpoint(receiver.url), certificates, directory)
        signed = published(log)
        sink.send(signed, before=0)
    return signed


def test_a_time_stamp_is_kept_with_its_note_and_verifies_offline(log, tmp_path):
    authority = TimeAuthority()
    signed = sent(log, authority, tmp_path)
    (found,) = timestamps(tmp_path)
    assert (found.size, found.note) == (signed.checkpoint.size, signed.note.content)
    assert found.at is not None
    assert verify_timestamp(found, load_certificates(authority.issuer.pem)) is None


def test_it_does_not_verify_with_another_root(log, tmp_path):
    sent(log, TimeAuthority(), tmp_path)
    (found,) = timestamps(tmp_path)
    assert verify_timestamp(found, load_certificates(Issuer.make("time root").pem))


def test_it_does_not_verify_for_another_note(log, tmp_path):
    authority = TimeAuthority()
    signed = sent(log, authority, tmp_path)
    (tmp_path / "timestamps" / f"{signed.checkpoint.size}.checkpoint").write_bytes(b"another")
    (found,) = timestamps(tmp_path)
    assert verify_timestamp(found, load_certificates(authority.issuer.pem))


@pytest.mark.parametrize("lie", ["rejection", "another note", "replay", "cut", "another key"])
def test_what_a_lying_authority_answers_is_not_kept(log, tmp_path, lie):
    with pytest.raises(SinkError, match="its time stamp is refused"):
        sent(log, TimeAuthority(lie=lie), tmp_path)
    assert list(timestamps(tmp_path)) == []


def test_a_certificate_for_something_else_stamps_no_time(log, tmp_path):
    with pytest.raises(SinkError, match="refused"):
        sent(log, TimeAuthority(is_stamper=False), tmp_path)
    assert list(timestamps(tmp_path)) == []


def test_an_authority_of_another_root_is_refused(log, tmp_path):
    with pytest.raises(SinkError, match="refused"):
        sent(log, TimeAuthority(), tmp_path, roots=Issuer.make().pem)


def test_a_page_is_no_time_stamp(log, tmp_path):
    with pytest.raises(SinkError, match="answered 200, and no time stamp"):
        sent_to_page(log, tmp_path)


def sent_to_page(log, tmp_path):
    with http_receiver(lambda _got: (200, "text/html", b"<p>")) as receiver:
        sink = TimestampSink(endpoint(receiver.url), load_certificates(Issuer.make().pem), tmp_path)
        sink.send(published(log), before=0)


@pytest.mark.parametrize("content", [b"", b"no", b"-----BEGIN CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_said(content):
    with pytest.raises(ValueError, match="certificates in PEM"):
        load_certificates(content)


@pytest.mark.parametrize("note", [b"a checkpoint\n", b"another\n"])
def test_what_openssl_has_stamped_verifies_and_nothing_else(note):
    # an answer without a nonce: see the README beside it
    content = bytes.fromhex((STAMPED / "openssl.tsr.hex").read_text())
    roots = load_certificates((STAMPED / "openssl-root.pem").read_bytes())
    found = Timestamp(1, None, note, content)
    problem = verify_timestamp(found, roots)
    assert (problem is None) is (note == b"a checkpoint\n")
    assert verify_timestamp(found, load_certificates(Issuer.make().pem))

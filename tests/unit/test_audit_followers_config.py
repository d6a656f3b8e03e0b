"""The file of followers is read strictly: each fault is named, all of them at once, and no value is repeated."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.followers.build import Surroundings, check_works
from audit.followers.config import FIELDS, read_followers
from audit.followers.errors import FollowersFileError
from audit.tlog.keys import SigningKey
from audit.tlog.vkey import NamedKey
from tests.receivers import Issuer

GOOD = b"""
[followers.offsite]
kind = "folder"
path = "/mnt/offsite"
every_s = 60

[followers.siem]
kind = "syslog"
address = "tls://siem.example:6514"
format = "cef"

[followers.hook]
kind = "webhook"
sends = "checkpoints"
url = "https://hooks.example/abc"
"""


def faults_of(text):
    with pytest.raises(FollowersFileError) as caught:
        read_followers(text.encode() if isinstance(text, str) else text)
    return caught.value.faults


def test_a_good_file_is_read_with_its_defaults():
    offsite, siem, hook = read_followers(GOOD)
    assert (offsite.name, offsite.kind, offsite.sends, offsite.number("every_s")) == (
        "offsite",
        "folder",
        "checkpoints",
        60,
    )
    assert (siem.sends, siem.text("format"), siem.number("timeout_s")) == ("refusals", "cef", 10)
    assert hook.sends == "checkpoints"


def test_no_follower_is_a_file_too():
    assert read_followers(b"") == ()


def one(kind, rest):
    return f'[followers.a]\nkind = "{kind}"\n{rest}\n'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[follower.a]", "follower: unknown key (expected tables as [followers.name])"),
        ("followers = 3", "followers: expected tables as [followers.name]"),
        ('[followers.A]\nkind = "folder"', "followers.A: expected a name of a-z, 0-9 and `-`, at most 40"),
        ('[followers."../x"]\nkind = "folder"', "followers.../x: expected a name of a-z, 0-9 and `-`, at most 40"),
        ("[followers.a]", "followers.a.kind: expected one of folder, webhook, syslog, otlp, witness, timestamp"),
        (one("folder", ""), "followers.a.path: missing: folder that is there already, on another file system"),
        (one("folder", 'path = "rel"'), "followers.a.path: expected an absolute path"),
        (one("folder", 'path = "/x"\nevry_s = 1'), "followers.a.evry_s: unknown key (did you mean every_s?)"),
        (one("folder", 'path = "/x"\nevery_s = true'), "followers.a.every_s: expected a whole number, found True"),
        (one("folder", 'path = "/x"\nevery_s = -1'), "followers.a.every_s: expected 0 to 86400, found -1"),
        (one("folder", "path = 3"), "followers.a.path: expected text, found 3"),
        (one("webhook", ""), "followers.a: expected url or url_file, one of them"),
        (one("webhook", 'url = "x"\nurl_file = "/x"'), "followers.a: expected url or url_file, one of them"),
        (one("webhook", 'url = "x"\nsends = "all"'), "followers.a.sends: expected one of refusals, checkpoints"),
        (one("webhook", 'url = "x"\ntoken = "abc"'), "followers.a.token: unknown key (did you mean token_file?)"),
        (one("syslog", 'address = ""'), "followers.a.address: expected text of 1 to 4096 characters"),
    ],
)  # fmt: skip
def test_a_fault_says_where_and_what(text, fault):
    assert fault in faults_of(text)


def test_all_faults_are_told_at_once():
    assert len(faults_of(one("folder", "x = 1\nevery_s = 99999999"))) == 3


@pytest.mark.parametrize("content", [b"\xff", b"[", b"a = 1\na = 2", b"a = " + b"[" * 10_000])
def test_what_is_no_toml_is_one_fault(content):
    assert len(faults_of(content)) == 1


def test_there_are_only_so_many():
    text = "".join(f'[followers.a{number}]\nkind = "folder"\npath = "/x"\n' for number in range(33))
    assert faults_of(text) == ("followers: expected at most 32, found 33",)


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(FollowersFileError):
        read_followers(text.encode("utf-8", "replace"))


def test_each_field_says_what_it_is():
    assert all(field.says for fields in FIELDS.values() for field in fields.values())


# --- what is made of it ------------------------------------------------------------------------


def made(text, tmp_path):
    check_works(read_followers(text.encode()), Surroundings(tmp_path / "audit", tmp_path / "state"))


def secret(tmp_path, content, mode=0o600):
    path = tmp_path / "secret"
    path.write_text(content)
    path.chmod(mode)
    return path


def test_every_kind_can_be_made(tmp_path):
    (tmp_path / "ca.pem").write_bytes(Issuer.make().pem)
    vkey = NamedKey("w.example", SigningKey.generate()).witness.text
    url = secret(tmp_path, "https://hooks.example/abc\n")
    made(
        GOOD.decode()
        + f'[followers.o]\nkind = "otlp"\nurl_file = "{url}"\nca_file = "{tmp_path}/ca.pem"\n'
        + f'[followers.w]\nkind = "witness"\nurl = "https://w.example"\nvkey = "{vkey}"\n'
        + f'[followers.t]\nkind = "timestamp"\nurl = "http://127.0.0.1:1"\ncertificate_file = "{tmp_path}/ca.pem"\n'
        + '[followers.u]\nkind = "syslog"\naddress = "udp://192.0.2.1"\nunsafe_plain = true\n'
        + '[followers.l]\nkind = "syslog"\naddress = "unix:///dev/log"\nsends = "checkpoints"\n',
        tmp_path,
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (one("webhook", 'url = "http://example.com/s3cr3t"'), "followers.a.url: expected an https URL; http only to a loopback address"),
        (one("syslog", 'address = "udp://192.0.2.1"'), "followers.a.address: expected tls://host:port, unix:///path, or tcp:// and udp:// to a loopback address (else: unsafe_plain)"),
        (one("syslog", 'address = "tcp://siem.example"'), "followers.a.address: expected tls://host:port, unix:///path, or tcp:// and udp:// to a loopback address (else: unsafe_plain)"),
        (one("witness", 'url = "https://w.example"\nvkey = "x"'), "followers.a.vkey: signed note: expected a key, as name+12345678+base64, found `'x'`"),
        (one("webhook", 'url_file = "/nowhere"'), "followers.a.url_file: the file is missing"),
        (one("webhook", 'url = "https://a.example"\nca_file = "/nowhere"'), "followers.a.ca_file: No such file or directory"),
        (one("timestamp", 'url = "https://a.example"\ncertificate_file = "/dev/null"'), "followers.a.certificate_file: expected a regular file of at most 1048576 bytes"),
    ],
)  # fmt: skip
def test_what_nothing_can_be_made_of_is_a_fault(text, fault, tmp_path):
    with pytest.raises(FollowersFileError) as caught:
        made(text, tmp_path)
    assert caught.value.faults == (fault,)


def test_a_key_that_signs_notes_is_no_witness(tmp_path):
    vkey = NamedKey("w.example", SigningKey.generate()).verifier.text
    with pytest.raises(FollowersFileError, match="expected the key of a witness"):
        made(one("witness", f'url = "https://w.example"\nvkey = "{vkey}"'), tmp_path)


@pytest.mark.parametrize(("content", "mode"), [("t0k3n", 0o644), ("", 0o600), ("t0k3n\nX: y", 0o600)])
def test_a_secret_that_others_can_read_or_that_is_none_is_refused_and_not_shown(tmp_path, content, mode):
    path = secret(tmp_path, content, mode)
    with pytest.raises(FollowersFileError, match=r"followers\.a\.token_file") as caught:
        made(one("webhook", f'url = "https://a.example"\ntoken_file = "{path}"'), tmp_path)
    assert "t0k3n" not in str(caught.value)

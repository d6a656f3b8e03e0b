"""Text that a guest chooses, where people and programs read it: it is shown, and does nothing."""

from __future__ import annotations

import json
import unicodedata

import pytest
import wasmtime

from tests.commands import Shell, guest, literal, opening, printing

TEXTS = {
    "escapes": b"\x1b[2J\x1b]0;owned\x07\x1b[31m",
    "lines": b"a\nwasmgate: all is well\r\nb",
    "bidirectional": "\u202egnp.exe\u2066\u2069".encode(),
    "invisible": "a\u200bb\ufeffc\u00ad".encode(),
    "controls": b"\x08\x7f\x0b\x0c" + "\x85".encode(),
    "c1": "\x9b31m".encode(),
    "not UTF-8": b"\xff\xfe\xc0\xaf",
    "markup": b"</script><b>&\"'`",
    "formulas": b"=cmd|'/c calc'!A1",
    "separators": b"a\tb;c,d|e",
    "line separators": "\u2028\u2029".encode(),
}
POLICY = 'permissions: {storage: {allow: [{id: in, uri: "fs:./in/**", mount: /in, access: [read]}]}}\n'
FORMS = ("table", "json", "ndjson")


def is_harmless(text: bytes, *, ends: bytes = b"\n") -> bool:
    """Whether nothing in it acts: no control but line ends, nothing that turns or hides letters, valid UTF-8."""
    for end in ends:
        text = text.replace(bytes([end]), b"")
    return not any(unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for letter in text.decode())


def test_what_acts_is_seen():
    for name, text in TEXTS.items():
        if name not in {"markup", "formulas", "separators", "not UTF-8"}:
            assert not is_harmless(text, ends=b""), name
    assert is_harmless("what ümläute say: \\x1b[2J".encode())


@pytest.fixture
def shell(tmp_path) -> Shell:
    folder = tmp_path / "work"
    (folder / "in").mkdir(parents=True)
    return Shell(folder, tmp_path / "home")


def test_paths_of_a_guest_act_nowhere(shell):
    paths = tuple(TEXTS.values())
    done = shell.run(opening(*paths, rights=64), "--receipt", "receipt.json", policy=POLICY)
    assert done.status == 0
    assert is_harmless(done.err)
    kept = (shell.folder / "receipt.json").read_text()
    assert (
        min(kept.rstrip("\n")) >= " "
    )  # canonical JSON spells everything else as it is: a file, not a screen
    assert shell.receipt()["records"] == len(paths)
    for form in FORMS:
        shown = shell.ask("audit", "query", "--audit-dir", shell.log, "--output", form)
        assert is_harmless(shown.out)
        lines = len(paths) + 1 if form == "table" else len(paths) if form == "ndjson" else 1
        assert shown.out.count(b"\n") == lines  # a record is a line, whatever is in it
    rows = [
        json.loads(line)
        for line in shell.ask(
            "audit", "query", "--audit-dir", shell.log, "--output", "ndjson"
        ).out.splitlines()
    ]
    assert "<b>" in "".join(row["guest_target"] or "" for row in rows)  # it is there, and is data


def named(*names: bytes) -> bytes:
    """A module with functions of these names, exported as these, of which each calls the next; the last one traps."""
    texts = [literal(name) for name in names]
    functions = "".join(
        f'(func ${number} (export "{text}") (call ${number + 1}))' for number, text in enumerate(texts)
    ).replace("$0 ", f'$"{texts[0]}" ')
    return bytes(
        wasmtime.wat2wasm(
            f'(module {functions} (func ${len(texts)} (unreachable)) (func (export "_start") (call 0)))'
        )
    )


def test_names_in_a_module_act_nowhere(shell):
    names = [text for name, text in TEXTS.items() if name != "not UTF-8"]
    done = shell.run(named(b"".join(names), *names))
    assert done.status == 134
    assert is_harmless(done.err)
    assert "\\x1b[2J" in done.said
    (shell.folder / "module.wasm").write_bytes(named(*names))
    for form in ("table", "json"):
        shown = shell.ask("module", "inspect", "module.wasm", "--output", form)
        assert is_harmless(shown.out)
        assert b"gnp.exe" in shown.out


def test_a_name_that_is_refused_acts_nowhere(shell):
    text = literal(TEXTS["escapes"] + "\u202e".encode())
    module = bytes(wasmtime.wat2wasm(f'(module (import "{text}" "{text}" (func)) (func (export "_start")))'))
    done = shell.run(module)
    assert done.status == 125
    assert is_harmless(done.err)
    assert "\\x1b" in done.said


def test_output_is_passed_on_as_it_is_and_kept_out_of_the_report(shell):
    text = TEXTS["escapes"] + TEXTS["lines"]
    done = shell.run(printing(text), policy="permissions: {stdio: {stdout: inherit}}\n")
    assert done.out == text  # to whoever asked for the bytes
    assert is_harmless(done.err)


def test_the_name_of_a_module_and_its_arguments_act_nowhere(shell):
    done = shell.run(
        guest("(unreachable)"), "--", "\x1b[2J", "\u202e", name="a\x1b[31m\u202e.wasm", policy="permissions: {extra_args: true}\n"
    )  # fmt: skip
    assert done.status == 134
    assert is_harmless(done.err)
    for form in FORMS:
        assert is_harmless(shell.ask("audit", "query", "--audit-dir", shell.log, "--output", form).out)

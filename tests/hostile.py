"""Documents that are meant to take long, to fill the memory, or to break the reader.

What each must come to is said in `tests/unit/test_policy_hostile.py`; `benchmarks/hostile_documents.py` measures
them. Each is made when it is asked for, since some are large.
"""

from __future__ import annotations

from collections.abc import Callable

from policy.text import MAX_BYTES

HEAD = b"version: 1\nmetadata: {name: p}\n"
STORAGE = HEAD + b"permissions:\n  storage:\n"
TOML = b'version = 1\n[metadata]\nname = "p"\n'


def full(head: bytes, unit: bytes, tail: bytes = b"") -> bytes:
    """As many units as a document of the largest size takes."""
    return head + unit * ((MAX_BYTES - len(head) - len(tail)) // len(unit)) + tail


def allow(uris: list[str], more: str = "") -> bytes:
    """A policy with a grant for each URI."""
    rules = [f'      - {{uri: "{uri}", mount: /m{n}, access: [read]{more}}}\n' for n, uri in enumerate(uris)]
    return STORAGE + b"    allow:\n" + "".join(rules).encode()


def deny(uris: list[str]) -> bytes:
    """A policy that grants one folder and refuses each URI."""
    rules = [f'      - {{uri: "{uri}"}}\n' for uri in uris]
    return allow(["fs:///srv/**"]) + b"    deny:\n" + "".join(rules).encode()


def _aliases() -> bytes:
    bomb = b"a: &a [" + b"1,\n" * 2_000 + b"]\n"
    return bomb + b"".join(b"%c: &%c [%s]\n" % (n, n, b",".join([b"*%c" % (n - 1)] * 4)) for n in b"bcde")


DOCUMENTS: dict[str, Callable[[], bytes]] = {
    "64 MiB": lambda: b"a: b\n" * (64 * 2**20 // 5),
    "nested lists": lambda: b"[" * 60_000,
    "nested lists over lines": lambda: full(b"", b"[\n"),
    "nested maps": lambda: full(b"", b"{a: "),
    "nested dashes": lambda: full(b"", b"- "),
    "nested questions": lambda: full(b"", b"? "),
    "nested by indent": lambda: b"".join(b" " * n + b"a:\n" for n in range(1_400)),
    "alias bomb": _aliases,
    "many aliases": lambda: b"a: &a 1\nb: [" + b"*a," * 1_000 + b"]",
    "many anchors": lambda: full(b"", b"- &a b\n"),
    "tag directives": lambda: b"".join(b"%%TAG !%d! x\n" % n for n in range(60_000)) + b"---\na: b",
    "tiny values": lambda: full(b"[", b"a,\n"),
    "tiny values on a line": lambda: full(b"[", b"a,"),
    "tiny pairs": lambda: b"".join(b"k%d:\n" % n for n in range(110_000)),
    "tiny flow pairs": lambda: full(b"{", b"a: b,\n"),
    "empty items": lambda: full(b"", b"-\n"),
    "empty lists": lambda: full(b"[", b"[],\n"),
    "quotes": lambda: full(b"", b'"'),
    "quotes on lines": lambda: full(b"", b'- ""\n'),
    "colons": lambda: full(b"", b":"),
    "colons on lines": lambda: full(b"", b":\n"),
    "flow keys": lambda: full(b"[", b"[a]: b,"),
    "comments": lambda: full(b"", b"#\n"),
    "one comment": lambda: full(b"#", b"x"),
    "block scalars": lambda: full(b"", b"- |\n x\n"),
    "blank lines": lambda: full(b"a: |\n", b"\n"),
    "spaces": lambda: full(b"", b" "),
    "documents": lambda: full(b"", b"---\n"),
    "one long tag": lambda: full(b"", b"!"),
    "one long anchor": lambda: full(b"&", b"a"),
    "one long key": lambda: full(HEAD + b"? ", b"k", b"\n: v"),
    "one long value": lambda: full(HEAD + b"mode: ", b"v"),
    "escapes": lambda: full(HEAD + b'mode: "', b"\\u00e9", b'"'),
    "unknown keys": lambda: HEAD + b"".join(b"vers%d: 1\n" % n for n in range(70_000)),
    "long unknown keys": lambda: HEAD + b"".join(b"%s%d: 1\n" % (b"permission" * 20, n) for n in range(4_800)),
    "duplicate keys": lambda: full(HEAD, b"mode: audit\n"),
    "values under an unknown key": lambda: full(HEAD + b"x: [", b"[1,2],\n", b"]"),
    "wrong types": lambda: full(STORAGE + b"    allow:\n", b"      - 1\n"),
    "empty rules": lambda: full(STORAGE + b"    allow:\n", b"      - {}\n"),
    "same rules": lambda: full(STORAGE + b"    deny:\n", b'      - {uri: "fs:///a"}\n'),
    "same ids": lambda: STORAGE + b"    deny:\n" + b"".join(b'      - {id: a, uri: "fs:///%d"}\n' % n for n in range(26_000)),
    "a hundred thousand rules": lambda: STORAGE + b"    deny:\n" + b"      - {uri: a}\n" * 100_000,
    "many rights": lambda: full(STORAGE + b'    allow:\n      - {uri: "fs:///a", access: [', b"read, ", b"read]}\n"),
    "many digests": lambda: full(HEAD + b"match: {digest: [", b'"sha256:' + b"0" * 64 + b'", ', b"]}\n"),
    "many stars": lambda: deny(["fs:///srv/" + "*a" * 2_000 + "b"]),
    "many stars twice": lambda: deny(["fs:///srv/**/" + "*a" * 1_000 + "b", "fs:///srv/**/" + "*b" * 1_000 + "a"]),
    "many questions": lambda: deny(["fs:///srv/" + "?" * 2_000]),
    "many sets": lambda: deny(["fs:///srv/*" + "[!a]" * 900]),
    "questions after a star": lambda: deny(["fs:///srv/*a" + "?" * 60]),
    "interlocking stars": lambda: deny([f"fs:///srv/**/*{n:x}*" for n in range(3_000)]),
    "interlocking tails": lambda: deny([f"fs:///srv/**/*{n:x}*{n + 1:x}" for n in range(200)]),
    "interlocking folders": lambda: deny([f"fs:///srv/**/{n}/**/{n + 1}" for n in range(3_000)]),
    "interlocking includes": lambda: allow(["fs:///srv/**"], ", include: [" + ", ".join(f'"**/*{n:x}*/**/x"' for n in range(5_000)) + "]"),
    "many excludes": lambda: allow(["fs:///srv/**"], ", exclude: [" + ", ".join(f'"**/*{n:x}*"' for n in range(5_000)) + "]"),
    "deep paths": lambda: deny([f"fs:///srv/{n}/" + "a/" * 2_000 + "b" for n in range(250)]),
    "long paths": lambda: deny([f"fs:///srv/{n}/" + ("a" * 250 + "/") * 15 + "b" for n in range(250)]),
    "toml of tiny values": lambda: full(TOML + b"x = [", b"1,", b"]"),
    "toml of tiny tables": lambda: full(TOML, b"[[x]]\n"),
    "toml of long keys": lambda: full(TOML, b"a.", b"a = 1"),
    "toml of nested lists": lambda: full(TOML + b"x = ", b"["),
    "toml of nested tables": lambda: full(TOML + b"x = ", b"{a="),
    "toml of quotes": lambda: full(TOML + b"x = ", b'"'),
    "toml of digits": lambda: full(TOML + b"x = ", b"1"),
    "toml of comments": lambda: full(TOML, b"#\n"),
}  # fmt: skip

"""The shapes of names, ids, digests, URIs, paths and globs.

How they are read is said in `policy/fields.py`, `policy/uris.py` and `policy/globs.py`. Unicode normal form,
the length of a path in bytes and the order within `[z-a]` are no matter of a pattern.
"""

from __future__ import annotations

from typing import Final

from policy.audit_terms import MAX_HEAD, MAX_NAMES
from policy.globs import MAX_PATH
from policy.placeholders import NAMES
from policy.shapes.shape import Shape, numbers, scalar, text

PLACEHOLDER: Final = r"\$\{(?:" + "|".join(name.replace(".", r"\.") for name in NAMES) + r")\}"
# No `${` but the four.
_DOLLARS: Final = r"(?![\s\S]*\$\{(?!(?:" + "|".join(name.replace(".", r"\.") for name in NAMES) + r")\}))"
_NO_DOTS: Final = r"(?!\.{1,2}(?:/|$))"
_LITERAL: Final = rf"{_NO_DOTS}[^/\u0000]+"  # a segment of a path
_PLAIN: Final = rf"{_NO_DOTS}[^/\u0000*?\[]+"  # the same, without wildcards
_FIRST: Final = r"[\u0001-\u0020\u0022-\u002e\u0030-\u005d\u005f-\u007f]"  # of a set: ASCII, but ! / ^
_LATER: Final = r"[\u0001-\u002e\u0030-\u005c\u005e-\u007f]"  # in a set: ASCII, but / ]
GLOB_SET: Final = rf"\[(?:[!^](?:\]|{_LATER}){_LATER}*|{_FIRST}{_LATER}*)\]"
_WILD: Final = rf"\*\*|{_NO_DOTS}(?![^/]*\*\*)(?:{PLACEHOLDER}|{GLOB_SET}|[^/\u0000\[\{{\}}\\])+"
_GLOB: Final = rf"(?:{_WILD})(?:/(?:{_WILD}))*"
_SCRATCH: Final = r"[a-z0-9][a-z0-9._-]{0,62}"
_RELATIVE: Final = rf"(?![!/]){_DOLLARS}{_GLOB}"
DENY_PATTERN: Final = rf"{_DOLLARS}(?:fs:///|fs:\./|tmp://){_GLOB}"
_ROOT: Final = rf"{_DOLLARS}(?:fs:///|tmp://){_GLOB}"
_LONGEST: Final = MAX_PATH - 1

POLICY_NAME = Shape(
    "policy-name",
    "a name of at most 128 of A-Z a-z 0-9 . _ - /, a letter or digit first",
    scalar("[A-Za-z0-9][A-Za-z0-9._/-]{0,127}", is_signed=False),
)
RULE_ID = Shape(
    "rule-id",
    "an id of at most 64 of A-Z a-z 0-9 . _ -, a letter or digit first",
    scalar("[A-Za-z0-9][A-Za-z0-9._-]{0,63}", is_signed=False),
)
DIGEST = Shape("digest", "sha256: and 64 lower-case hexadecimal digits", text("sha256:[0-9a-f]{64}"))
ANY_TEXT = Shape("any-text", "any text", scalar())
TEXT = Shape("text", "text without a NUL byte", scalar(r"[^\u0000]*"))
WORDS = Shape("words", "text that is not empty and has no NUL byte", scalar(r"[^\u0000]+"))
LABEL = Shape("label", "a label with its value, such as trust=untrusted", text(r"[^=\u0000]+=[^\u0000]*"))
GRANT_URI = Shape(
    "grant-uri",
    "fs:///, fs:./ or tmp:// and a path without wildcards but a trailing /**",
    text(
        rf"{_DOLLARS}(?:tmp://{_SCRATCH}(?:/\*\*)?|fs:(?:///|\./)(?:\*\*|{_PLAIN}(?:/{_PLAIN})*(?:/\*\*)?))",
        longest=_LONGEST,
    ),
)
DENY_URI = Shape(
    "deny-uri", "fs:///, fs:./ or tmp:// and a path or a glob", text(DENY_PATTERN, longest=_LONGEST)
)
ROOT_URI = Shape("root-uri", "fs:/// or tmp:// and a path or a glob", text(_ROOT, longest=_LONGEST))
NEVER_URI = Shape(
    "never-uri",
    "fs:/// or tmp:// and a path or a glob, or a glob for every kind of storage",
    scalar(rf"{_ROOT}|(?![^:]*:){_RELATIVE}", longest=_LONGEST),
)
GUEST_PATH = Shape(
    "guest-path",
    "an absolute path of the guest, without a slash at the end",
    text(rf"{_DOLLARS}/(?:{_LITERAL}(?:/{_LITERAL})*)?", longest=_LONGEST),
)
GLOB = Shape("glob", "a glob relative to the rule's root", scalar(_RELATIVE, longest=_LONGEST))
PAYLOAD = Shape(
    "payload",
    "none, digest, full or head:<bytes>",
    text(rf"none|digest|full|head:(?:{numbers(1, MAX_HEAD)})"),
)
_OF_PATHS: Final = rf"(?:|:/(?![\s\S]*\$\{{){_GLOB})"
MASK = Shape(
    "mask",
    "default, path:hmac, path:drop, path:prefix:2, payload:drop, payload:digest, each of these with a glob "
    "of paths or not, or json: and a pointer",
    text(
        rf"default|path:(?:hmac|drop|prefix(?::(?:{numbers(1, MAX_NAMES)}))?){_OF_PATHS}"
        rf"|payload:(?:drop|digest){_OF_PATHS}|json:(?:/(?:[^~/\u0000]|~[01])*)+",
    ),
)

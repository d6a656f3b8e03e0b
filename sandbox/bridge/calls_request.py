"""What a request is made of: `outgoing-request` and `request-options` of `wasi:http/types`.

A request is put together here, and nothing is asked until it is handled: that, its body and its answer are
`calls_http.py`. What lies in the page of a request is said below.
"""

from __future__ import annotations

from sandbox.bridge.calls_fields import K_FIELDS, NOTED, PAGE_BITS
from sandbox.bridge.interfaces import FUNCTIONS
from sandbox.bridge.kernel import AT, FD
from sandbox.bridge.shape import Body, p
from sandbox.network.http_head import HEAD, MAX_LINE

K_REQUEST, K_OPTIONS = 14, 15

# --- the page of a request: for each of four texts a number and a length, then the page of its body ------
# The number: of a method its case, of a scheme one more than its case, of the others 1 where there is one.
METHOD, SCHEME, AUTHORITY, PATH = 0, 8, 16, 24
BODY = 32
TEXTS = {METHOD: 256, SCHEME: 512, AUTHORITY: 1_024, PATH: 4_096}
LONGEST = {METHOD: 64, SCHEME: 64, AUTHORITY: 1_024, PATH: MAX_LINE}
OTHER_METHOD, OTHER_SCHEME = 9, 3
# --- the page of options: three times in nanoseconds, each with one more than nothing before it -----------
TIMES = {"connect-timeout": 0, "first-byte-timeout": 16, "between-bytes-timeout": 32}

STATE, LOST = 8, 2  # in the page of a body: what becomes of it, and that it is given up
SAID = 1_024  # in the bridge's memory: how long what was made is
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_METHODS_TEXT = "".join(name.ljust(8, "\0").replace("\0", "\\00") for name in _METHODS)


def clear(name: str) -> str:
    """Fill the place of a result with zeroes: the first case of each variant in it."""
    result = FUNCTIONS[name].result
    size = 0 if result is None else result.size
    return f"(memory.fill $b (local.get $to) (i32.const 0) (i32.const {size}))\n"


SUPPORT = f"""
(data $methods "{_METHODS_TEXT}")
(func $request (param $handle i32) (result i32)
  ;; where the page of a request begins
  (call $base (i32.load $handles offset={FD} (call $get (local.get $handle) (i32.const {K_REQUEST})))))
(func $keep_text (param $request i32) (param $which i32) (param $at i32) (param $longest i32)
  (param $number i32) (param $source i32) (param $len i32) (result i32) (local $page i32)
  ;; 1 where it is too long
  (local.set $page (call $request (local.get $request)))
  (if (i32.gt_u (local.get $len) (local.get $longest)) (then (return (i32.const 1))))
  (i32.store $http (i32.add (local.get $page) (local.get $which)) (local.get $number))
  (i32.store $http offset=4 (i32.add (local.get $page) (local.get $which)) (local.get $len))
  (memory.copy $http $b (i32.add (local.get $page) (local.get $at)) (local.get $source) (local.get $len))
  (i32.const 0))
(func $is_visible (param $at i32) (param $len i32) (result i32)
  ;; nothing that would end a line or a word of it
  (block $end (loop $next
    (br_if $end (i32.eqz (local.get $len)))
    (if (i32.gt_u (i32.sub (i32.load8_u $b (local.get $at)) (i32.const 33)) (i32.const 93))
      (then (return (i32.const 0))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (local.set $len (i32.sub (local.get $len) (i32.const 1)))
    (br $next)))
  (i32.const 1))
(func $append_text (param $end i32) (param $page i32) (param $which i32) (param $at i32) (result i32)
  (local $len i32)
  (local.set $len (i32.load $http offset=4 (i32.add (local.get $page) (local.get $which))))
  (memory.copy $b $http (local.get $end) (i32.add (local.get $page) (local.get $at)) (local.get $len))
  (i32.add (local.get $end) (local.get $len)))
(func $method_text (param $at i32) (param $number i32) (result i32)
  ;; a method by its case, eight bytes; gives where it ends
  (memory.init $b $methods (local.get $at) (i32.shl (local.get $number) (i32.const 3)) (i32.const 8))
  (block $end (loop $next
    (br_if $end (i32.eqz (i32.load8_u $b (local.get $at))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (br $next)))
  (local.get $at))
(func $line (param $page i32) (result i32) (local $start i32) (local $end i32)
  ;; METHOD scheme://authority/path, at what is given; its length at `SAID`, 0 where it makes none
  (local.set $start (call $room (i32.const {LONGEST[METHOD] + LONGEST[AUTHORITY] + LONGEST[PATH] + 64})))
  (i32.store $b (i32.const {SAID}) (i32.const 0))
  (if (i32.or (i32.eqz (i32.load $http offset={AUTHORITY} (local.get $page)))
      (i32.eq (i32.load $http offset={SCHEME} (local.get $page)) (i32.const {OTHER_SCHEME})))
    (then (return (local.get $start))))
  (if (i32.eq (i32.load $http offset={METHOD} (local.get $page)) (i32.const {OTHER_METHOD}))
    (then (local.set $end (call $append_text (local.get $start) (local.get $page) (i32.const {METHOD})
      (i32.const {TEXTS[METHOD]}))))
    (else (local.set $end (call $method_text (local.get $start)
      (i32.load $http offset={METHOD} (local.get $page))))))
  ;; " http", "s" where it is or nothing is said, "://"
  (i32.store8 $b (local.get $end) (i32.const 32))
  (i32.store $b offset=1 (local.get $end) (i32.const 0x70747468))
  (local.set $end (i32.add (local.get $end) (i32.const 5)))
  (if (i32.ne (i32.load $http offset={SCHEME} (local.get $page)) (i32.const 1)) (then
    (i32.store8 $b (local.get $end) (i32.const 0x73))
    (local.set $end (i32.add (local.get $end) (i32.const 1)))))
  (i32.store $b (local.get $end) (i32.const 0x2f2f3a))
  (local.set $end (call $append_text (i32.add (local.get $end) (i32.const 3)) (local.get $page)
    (i32.const {AUTHORITY}) (i32.const {TEXTS[AUTHORITY]})))
  (if (i32.load $http offset={PATH} (local.get $page))
    (then (local.set $end (call $append_text (local.get $end) (local.get $page) (i32.const {PATH})
      (i32.const {TEXTS[PATH]}))))
    (else
      (i32.store8 $b (local.get $end) (i32.const 47))
      (local.set $end (i32.add (local.get $end) (i32.const 1)))))
  (i32.store $b (i32.const {SAID}) (i32.sub (local.get $end) (local.get $start)))
  (local.get $start))
(func $head (param $entry i32) (param $has_options i32) (param $options i32) (result i32)
  (local $at i32) (local $page i32) (local $fields i64)
  ;; SPEC: sandbox/network/http_head.py; its length at `SAID`
  (local.set $fields (i64.load $handles offset={AT} (local.get $entry)))
  (local.set $at (call $room (i32.add (i32.const {HEAD.size})
    (i32.wrap_i64 (i64.shr_u (local.get $fields) (i64.const 32))))))
  (memory.fill $b (local.get $at) (i32.const 0) (i32.const {HEAD.size}))
  (i32.store $b (local.get $at) (i32.ne (i32.const 0) (i32.load $http offset={BODY}
    (call $base (i32.load $handles offset={FD} (local.get $entry))))))
  (if (local.get $has_options) (then
    (local.set $page (call $options_page (local.get $options)))
    (memory.copy $b $http (i32.add (local.get $at) (i32.const 8)) (local.get $page) (i32.const 48))))
  (memory.copy $b $http (i32.add (local.get $at) (i32.const {HEAD.size}))
    (call $base (i32.wrap_i64 (local.get $fields)))
    (i32.wrap_i64 (i64.shr_u (local.get $fields) (i64.const 32))))
  (i32.store $b (i32.const {SAID}) (i32.add (i32.const {HEAD.size})
    (i32.wrap_i64 (i64.shr_u (local.get $fields) (i64.const 32)))))
  (local.get $at))
(func $options_page (param $options i32) (result i32)
  (call $base (i32.load $handles offset={FD} (call $get (local.get $options) (i32.const {K_OPTIONS})))))
(func $drop_options (param $options i32)
  (call $leave (i32.shr_u (call $options_page (local.get $options)) (i32.const {PAGE_BITS})))
  (call $release (local.get $options)))
(func $drop_request (param $request i32) (local $at i32)
  ;; the end of a request that nobody makes any more; its body goes its own way
  (local.set $at (call $get (local.get $request) (i32.const {K_REQUEST})))
  (call $leave (i32.wrap_i64 (i64.load $handles offset={AT} (local.get $at))))
  (call $leave (i32.load $handles offset={FD} (local.get $at)))
  (call $release (local.get $request)))
"""

_TO = "(local.get $to)"
_REQUEST = f"(call $request {p(0)})"


def _asked(name: str, text: str) -> Body:
    """What a request has been told."""
    return Body(name, f"{NOTED}{clear(name)}(local.set $page {_REQUEST})\n{text}", ("$page i32",))


def _text_at(to: int, which: int) -> str:
    return (
        f"(call $text (i32.add {_TO} (i32.const {to}))"
        f" (i32.add (local.get $page) (i32.const {TEXTS[which]}))"
        f" (i32.load $http offset={which + 4} (local.get $page)))"
    )


def _maybe_text(name: str, which: int) -> Body:
    text = f"""(if (i32.load $http offset={which} (local.get $page)) (then
  (i32.store8 $b {_TO} (i32.const 1))
  {_text_at(4, which)}))"""
    return _asked(name, text)


def _set(name: str, which: int, number: str, length: str, *, checks: str = "") -> Body:
    """Tell a request something: a number, and a text among the last parameters, as long as `length` says."""
    first = len(FUNCTIONS[name].flat_params) - 2
    kept = (
        f"(call $keep_text {p(0)} (i32.const {which}) (i32.const {TEXTS[which]})"
        f" (i32.const {LONGEST[which]}) {number} {p(first)} (local.get $len))"
    )
    return Body(
        name,
        f"{NOTED}{checks}(local.set $len {length})\n"
        f"(if (result i32) (i32.lt_s (local.get $len) (i32.const 0)) (then (i32.const 1)) (else {kept}))",
        ("$len i32",),
    )


def _length(is_there: str, check: str, first: int) -> str:
    """How long the text is: nothing where there is none, and -1 where it may not be taken."""
    found = f"(select {p(first + 1)} (i32.const -1) (call ${check} {p(first)} {p(first + 1)}))"
    return f"(if (result i32) {is_there} (then {found}) (else (i32.const 0)))"


_IS_OTHER_METHOD = f"(i32.eq {p(1)} (i32.const {OTHER_METHOD}))"
_IS_OTHER_SCHEME = f"(i32.and {p(1)} (i32.eq {p(2)} (i32.const {OTHER_SCHEME - 1})))"
_SCHEME_NUMBER = f"(select (i32.add {p(2)} (i32.const 1)) (i32.const 0) {p(1)})"


def _cases(nth: int, count: int, is_there: str = "(i32.const 1)") -> str:
    # SPEC: a case that there is none of ends the guest
    return f"(if (i32.and {is_there} (i32.ge_u {p(nth)} (i32.const {count}))) (then (unreachable)))\n"


_METHOD = f"""(i32.store8 $b {_TO} (i32.load $http offset={METHOD} (local.get $page)))
(if (i32.eq (i32.load $http offset={METHOD} (local.get $page)) (i32.const {OTHER_METHOD}))
  (then {_text_at(4, METHOD)}))"""
_SCHEME = f"""(if (i32.load $http offset={SCHEME} (local.get $page)) (then
  (i32.store8 $b {_TO} (i32.const 1))
  (i32.store8 $b offset=4 {_TO}
    (i32.sub (i32.load $http offset={SCHEME} (local.get $page)) (i32.const 1)))
  (if (i32.eq (i32.load $http offset={SCHEME} (local.get $page)) (i32.const {OTHER_SCHEME}))
    (then {_text_at(8, SCHEME)}))))"""
_NEW_REQUEST = f"""{NOTED}(local.set $at (call $get {p(0)} (i32.const {K_FIELDS})))
(local.set $fields (i64.or (i64.load32_u $handles offset={FD} (local.get $at))
  (i64.shl (i64.load $handles offset={AT} (local.get $at)) (i64.const 32))))
(call $release {p(0)})
(call $new (i32.const {K_REQUEST}) (call $page) (local.get $fields) (i32.const 0))"""
_HEADERS = """(call $copied_fields (i32.wrap_i64 (local.get $fields))
  (i32.wrap_i64 (i64.shr_u (local.get $fields) (i64.const 32))) (i32.const 1))"""


def headers(name: str, kind: int, note: str) -> Body:
    """A copy of the fields of a request or an answer, which nobody changes."""
    text = f"(local.set $fields (i64.load $handles offset={AT} (call $get {p(0)} (i32.const {kind}))))"
    return Body(name, f"{note}{text}\n{_HEADERS}", ("$fields i64",))


_DROP_REQUEST = f"""{NOTED}(local.set $body (i32.load $http offset={BODY} {_REQUEST}))
(call $drop_request {p(0)})
(if (local.get $body) (then
  (i32.store $http offset={STATE} (call $base (local.get $body)) (i32.const {LOST}))
  (call $let_body_go (local.get $body))))"""


def _option(what: str, at: int) -> tuple[Body, Body]:
    page = f"(call $options_page {p(0)})"
    asked = f"""{NOTED}(i64.store $b {_TO} (i64.load $http offset={at} {page}))
(i64.store $b offset=8 {_TO} (i64.load $http offset={at + 8} {page}))"""
    told = f"""{NOTED}(i64.store $http offset={at} {page} (i64.extend_i32_u (i32.ne {p(1)} (i32.const 0))))
(i64.store $http offset={at + 8} {page} {p(2)})
(i32.const 0)"""
    return Body(f"request-options.{what}", asked), Body(f"request-options.set-{what}", told)


BODIES = (
    Body("outgoing-request.new", _NEW_REQUEST, ("$at i32", "$fields i64")),
    Body("outgoing-request.body", f"{NOTED}(i32.store8 $b {_TO} (call $take_body {p(0)} {_TO}))"),
    _asked("outgoing-request.method", _METHOD),
    _set(
        "outgoing-request.set-method",
        METHOD,
        p(1),
        _length(_IS_OTHER_METHOD, "is_token_text", 2),
        checks=_cases(1, OTHER_METHOD + 1),
    ),
    _maybe_text("outgoing-request.path-with-query", PATH),
    _set(
        "outgoing-request.set-path-with-query",
        PATH,
        f"(i32.ne {p(1)} (i32.const 0))",
        _length(p(1), "is_visible", 2),
    ),
    _asked("outgoing-request.scheme", _SCHEME),
    _set(
        "outgoing-request.set-scheme",
        SCHEME,
        _SCHEME_NUMBER,
        _length(_IS_OTHER_SCHEME, "is_visible", 3),
        checks=_cases(2, OTHER_SCHEME, p(1)),
    ),
    _maybe_text("outgoing-request.authority", AUTHORITY),
    _set(
        "outgoing-request.set-authority",
        AUTHORITY,
        f"(i32.ne {p(1)} (i32.const 0))",
        _length(p(1), "is_visible", 2),
    ),
    headers("outgoing-request.headers", K_REQUEST, NOTED),
    Body("outgoing-request.drop", _DROP_REQUEST, ("$body i32",)),
    Body(
        "request-options.new",
        f"{NOTED}(call $new (i32.const {K_OPTIONS}) (call $page) (i64.const 0) (i32.const 0))",
    ),
    *(body for what, at in TIMES.items() for body in _option(what, at)),
    Body("request-options.drop", f"{NOTED}(call $drop_options {p(0)})"),
)

"""Headers of requests and responses: the resource `fields` of `wasi:http/types`.

Fields lie one behind the other in a page of their own, names in lower case: two lengths of 32 bits, then the
name and the value. What is wrong with a field is told here; whether it may be sent is decided by the broker,
which looks at all of them again. Requests are `calls_http.py`, whose text uses this. It is longer than most:
all of it is for one resource.
"""

from __future__ import annotations

from sandbox.bridge.kernel import AT, FD, MODE
from sandbox.bridge.shape import Body, p
from sandbox.network.http_head import FORBIDDEN, MAX_FIELDS_BYTES, TOKEN

K_FIELDS = 13
PAGE_BITS = 16
MAX_PAGES = 1_024
MAX_NAME = 256
_SYNTAX, _FORBIDDEN, _IMMUTABLE = 1, 2, 3  # one more than the case of header-error
_LIST = 2_048  # in the bridge's memory: the names that no guest sets

# the characters of a name, as two masks of 64
_LOW = sum(1 << char for char in TOKEN if char < 64)
_HIGH = sum(1 << (char - 64) for char in TOKEN if char >= 64)

_NAMES = b"".join(bytes([len(name)]) + name.encode() for name in FORBIDDEN) + b"\0"
_NAMES_TEXT = "".join(f"\\{byte:02x}" for byte in _NAMES)

PAGES = f"""
(memory $http 1)
(data $forbidden "{_NAMES_TEXT}")
(global $free_page (mut i32) (i32.const 0))
(func $page (result i32) (local $page i32)
  ;; a page of one's own, by its number; page 0 is nobody's
  (if (global.get $free_page)
    (then
      (local.set $page (global.get $free_page))
      (global.set $free_page (i32.load $http (i32.shl (local.get $page) (i32.const {PAGE_BITS})))))
    (else
      (local.set $page (memory.size $http))
      (if (i32.ge_u (local.get $page) (i32.const {MAX_PAGES})) (then (unreachable)))
      (if (i32.lt_s (memory.grow $http (i32.const 1)) (i32.const 0)) (then (unreachable)))))
  (memory.fill $http (i32.shl (local.get $page) (i32.const {PAGE_BITS})) (i32.const 0) (i32.const 64))
  (local.get $page))
(func $leave (param $page i32)
  (i32.store $http (i32.shl (local.get $page) (i32.const {PAGE_BITS})) (global.get $free_page))
  (global.set $free_page (local.get $page)))
(func $base (param $page i32) (result i32) (i32.shl (local.get $page) (i32.const {PAGE_BITS})))
"""

CHECKS = f"""
(func $is_token (param $c i32) (result i32)
  (if (i32.ge_u (local.get $c) (i32.const 128)) (then (return (i32.const 0))))
  (i32.wrap_i64 (i64.and (i64.const 1) (i64.shr_u
    (select (i64.const {_LOW}) (i64.const {_HIGH}) (i32.lt_u (local.get $c) (i32.const 64)))
    (i64.extend_i32_u (i32.and (local.get $c) (i32.const 63)))))))
(func $is_token_text (param $at i32) (param $len i32) (result i32)
  (if (i32.eqz (local.get $len)) (then (return (i32.const 0))))
  (loop $next
    (if (i32.eqz (call $is_token (i32.load8_u $b (local.get $at)))) (then (return (i32.const 0))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (br_if $next (local.tee $len (i32.sub (local.get $len) (i32.const 1)))))
  (i32.const 1))
(func $lower (param $at i32) (param $len i32) (local $c i32)
  (block $end (loop $next
    (br_if $end (i32.eqz (local.get $len)))
    (local.set $c (i32.load8_u $b (local.get $at)))
    (if (i32.lt_u (i32.sub (local.get $c) (i32.const 65)) (i32.const 26))
      (then (i32.store8 $b (local.get $at) (i32.add (local.get $c) (i32.const 32)))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (local.set $len (i32.sub (local.get $len) (i32.const 1)))
    (br $next))))
(func $is_same_text (param $one i32) (param $other i32) (param $len i32) (result i32)
  (block $end (loop $next
    (br_if $end (i32.eqz (local.get $len)))
    (if (i32.ne (i32.load8_u $b (local.get $one)) (i32.load8_u $b (local.get $other)))
      (then (return (i32.const 0))))
    (local.set $one (i32.add (local.get $one) (i32.const 1)))
    (local.set $other (i32.add (local.get $other) (i32.const 1)))
    (local.set $len (i32.sub (local.get $len) (i32.const 1)))
    (br $next)))
  (i32.const 1))
(func $wrong_name (param $at i32) (param $len i32) (result i32) (local $list i32) (local $n i32)
  ;; 0, or what is wrong with the name of a field; brings it to lower case
  (if (i32.gt_u (local.get $len) (i32.const {MAX_NAME})) (then (return (i32.const {_SYNTAX}))))
  (if (i32.eqz (call $is_token_text (local.get $at) (local.get $len)))
    (then (return (i32.const {_SYNTAX}))))
  (call $lower (local.get $at) (local.get $len))
  (memory.init $b $forbidden (i32.const {_LIST}) (i32.const 0) (i32.const {len(_NAMES)}))
  (local.set $list (i32.const {_LIST}))
  (block $end (loop $next
    (br_if $end (i32.eqz (local.tee $n (i32.load8_u $b (local.get $list)))))
    (local.set $list (i32.add (local.get $list) (i32.const 1)))
    (if (i32.eq (local.get $n) (local.get $len)) (then
      (if (call $is_same_text (local.get $list) (local.get $at) (local.get $len))
        (then (return (i32.const {_FORBIDDEN}))))))
    (local.set $list (i32.add (local.get $list) (local.get $n)))
    (br $next)))
  (i32.const 0))
(func $wrong_value (param $at i32) (param $len i32) (result i32) (local $c i32)
  ;; SPEC: RFC 9110, 5.5: what can be seen, spaces and tabs
  (block $end (loop $next
    (br_if $end (i32.eqz (local.get $len)))
    (local.set $c (i32.load8_u $b (local.get $at)))
    (if (i32.or (i32.eq (local.get $c) (i32.const 127))
                (i32.and (i32.lt_u (local.get $c) (i32.const 32)) (i32.ne (local.get $c) (i32.const 9))))
      (then (return (i32.const {_SYNTAX}))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (local.set $len (i32.sub (local.get $len) (i32.const 1)))
    (br $next)))
  (i32.const 0))
"""

_ENTRY = f"(call $get (local.get $fields) (i32.const {K_FIELDS}))"
_SIZE = (
    "(i32.add (i32.const 8)"
    " (i32.add (i32.load $http (local.get $r)) (i32.load $http offset=4 (local.get $r))))"
)

STORE = f"""
(func $new_fields (param $page i32) (param $used i32) (param $is_fixed i32) (result i32)
  (call $new (i32.const {K_FIELDS}) (local.get $page) (i64.extend_i32_u (local.get $used))
    (local.get $is_fixed)))
(func $copied_fields (param $page i32) (param $used i32) (param $is_fixed i32) (result i32) (local $new i32)
  (local.set $new (call $page))
  (memory.copy $http $http (call $base (local.get $new)) (call $base (local.get $page)) (local.get $used))
  (call $new_fields (local.get $new) (local.get $used) (local.get $is_fixed)))
(func $put (param $page i32) (param $used i32) (param $name i32) (param $name_len i32) (param $value i32)
  (param $value_len i32) (result i32) (local $at i32)
  ;; one more field; gives how many bytes there are then. More than a page ends the guest
  (if (i32.or (i32.gt_u (local.get $value_len) (i32.const {MAX_FIELDS_BYTES}))
              (i32.gt_u (i32.add (i32.add (local.get $used) (i32.const 8))
                                 (i32.add (local.get $name_len) (local.get $value_len)))
                        (i32.const {MAX_FIELDS_BYTES}))) (then (unreachable)))
  (local.set $at (i32.add (call $base (local.get $page)) (local.get $used)))
  (i32.store $http (local.get $at) (local.get $name_len))
  (i32.store $http offset=4 (local.get $at) (local.get $value_len))
  (memory.copy $http $b (i32.add (local.get $at) (i32.const 8)) (local.get $name) (local.get $name_len))
  (memory.copy $http $b (i32.add (i32.add (local.get $at) (i32.const 8)) (local.get $name_len))
    (local.get $value) (local.get $value_len))
  (i32.sub (i32.add (i32.add (i32.add (local.get $at) (i32.const 8)) (local.get $name_len))
    (local.get $value_len)) (call $base (local.get $page))))
(func $is_named (param $r i32) (param $name i32) (param $len i32) (result i32)
  ;; whether a field has this name, which is in lower case
  (if (i32.ne (i32.load $http (local.get $r)) (local.get $len)) (then (return (i32.const 0))))
  (block $end (loop $next
    (br_if $end (i32.eqz (local.get $len)))
    (if (i32.ne (i32.load8_u $http offset=8 (local.get $r)) (i32.load8_u $b (local.get $name)))
      (then (return (i32.const 0))))
    (local.set $r (i32.add (local.get $r) (i32.const 1)))
    (local.set $name (i32.add (local.get $name) (i32.const 1)))
    (local.set $len (i32.sub (local.get $len) (i32.const 1)))
    (br $next)))
  (i32.const 1))
(func $without (param $at i32) (param $name i32) (param $len i32)
  ;; take all fields of a name out of those of a handle
  (local $r i32) (local $w i32) (local $end i32) (local $size i32)
  (local.set $r (call $base (i32.load $handles offset={FD} (local.get $at))))
  (local.set $w (local.get $r))
  (local.set $end (i32.add (local.get $r) (i32.wrap_i64 (i64.load $handles offset={AT} (local.get $at)))))
  (block $over (loop $next
    (br_if $over (i32.ge_u (local.get $r) (local.get $end)))
    (local.set $size {_SIZE})
    (if (i32.eqz (call $is_named (local.get $r) (local.get $name) (local.get $len))) (then
      (memory.copy $http $http (local.get $w) (local.get $r) (local.get $size))
      (local.set $w (i32.add (local.get $w) (local.get $size)))))
    (local.set $r (i32.add (local.get $r) (local.get $size)))
    (br $next)))
  (i64.store $handles offset={AT} (local.get $at) (i64.extend_i32_u
    (i32.sub (local.get $w) (call $base (i32.load $handles offset={FD} (local.get $at)))))))
(func $add (param $at i32) (param $name i32) (param $len i32) (param $value i32) (param $value_len i32)
  (i64.store $handles offset={AT} (local.get $at) (i64.extend_i32_u
    (call $put (i32.load $handles offset={FD} (local.get $at))
      (i32.wrap_i64 (i64.load $handles offset={AT} (local.get $at)))
      (local.get $name) (local.get $len) (local.get $value) (local.get $value_len)))))
(func $text (param $at i32) (param $source i32) (param $len i32) (local $room i32)
  ;; pointer and length of a copy of what lies in a page
  (local.set $room (call $room (local.get $len)))
  (memory.copy $b $http (local.get $room) (local.get $source) (local.get $len))
  (i32.store $b (local.get $at) (local.get $room))
  (i32.store $b offset=4 (local.get $at) (local.get $len)))
(func $found_fields (param $fields i32) (param $name i32) (param $len i32) (param $to i32)
  ;; all fields as pairs, or the values of those of one name
  (local $at i32) (local $r i32) (local $end i32) (local $out i32) (local $step i32)
  (local.set $at {_ENTRY})
  (local.set $r (call $base (i32.load $handles offset={FD} (local.get $at))))
  (local.set $end (i32.add (local.get $r) (i32.wrap_i64 (i64.load $handles offset={AT} (local.get $at)))))
  (local.set $step (select (i32.const 8) (i32.const 16) (local.get $name)))
  ;; a field has more than eight bytes, so there are not more of them than this
  (local.set $out (call $room (i32.mul (local.get $step)
    (i32.shr_u (i32.sub (local.get $end) (local.get $r)) (i32.const 3)))))
  (i32.store $b (local.get $to) (local.get $out))
  (i32.store $b offset=4 (local.get $to) (i32.const 0))
  (block $over (loop $next
    (br_if $over (i32.ge_u (local.get $r) (local.get $end)))
    (if (i32.eqz (local.get $name))
      (then (call $text (local.get $out) (i32.add (local.get $r) (i32.const 8))
        (i32.load $http (local.get $r)))))
    (if (select (call $is_named (local.get $r) (local.get $name) (local.get $len)) (i32.const 1)
          (local.get $name)) (then
      (call $text (i32.sub (i32.add (local.get $out) (local.get $step)) (i32.const 8))
        (i32.add (i32.add (local.get $r) (i32.const 8)) (i32.load $http (local.get $r)))
        (i32.load $http offset=4 (local.get $r)))
      (local.set $out (i32.add (local.get $out) (local.get $step)))
      (i32.store $b offset=4 (local.get $to)
        (i32.add (i32.load $b offset=4 (local.get $to)) (i32.const 1)))))
    (local.set $r (i32.add (local.get $r) {_SIZE}))
    (br $next))))
(func $has_field (param $fields i32) (param $name i32) (param $len i32) (result i32)
  (local $at i32) (local $r i32) (local $end i32)
  (local.set $at {_ENTRY})
  (local.set $r (call $base (i32.load $handles offset={FD} (local.get $at))))
  (local.set $end (i32.add (local.get $r) (i32.wrap_i64 (i64.load $handles offset={AT} (local.get $at)))))
  (block $over (loop $next
    (br_if $over (i32.ge_u (local.get $r) (local.get $end)))
    (if (call $is_named (local.get $r) (local.get $name) (local.get $len)) (then (return (i32.const 1))))
    (local.set $r (i32.add (local.get $r) {_SIZE}))
    (br $next)))
  (i32.const 0))
(func $fields_of_list (param $list i32) (param $n i32) (param $to i32)
  (local $page i32) (local $used i32) (local $wrong i32)
  (local.set $page (call $page))
  (block $end (loop $next
    (br_if $end (i32.eqz (local.get $n)))
    (local.set $wrong (call $wrong_name (i32.load $b (local.get $list))
      (i32.load $b offset=4 (local.get $list))))
    (br_if $end (local.get $wrong))
    (local.set $wrong (call $wrong_value (i32.load $b offset=8 (local.get $list))
      (i32.load $b offset=12 (local.get $list))))
    (br_if $end (local.get $wrong))
    (local.set $used (call $put (local.get $page) (local.get $used) (i32.load $b (local.get $list))
      (i32.load $b offset=4 (local.get $list)) (i32.load $b offset=8 (local.get $list))
      (i32.load $b offset=12 (local.get $list))))
    (local.set $list (i32.add (local.get $list) (i32.const 16)))
    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
    (br $next)))
  (call $told_header (local.get $to) (i32.const 4) (local.get $wrong))
  (if (local.get $wrong)
    (then (call $leave (local.get $page)))
    (else (i32.store $b offset=4 (local.get $to)
      (call $new_fields (local.get $page) (local.get $used) (i32.const 0))))))
(func $told_header (param $to i32) (param $at i32) (param $wrong i32)
  (i32.store8 $b (local.get $to) (i32.ne (local.get $wrong) (i32.const 0)))
  (i32.store8 $b (i32.add (local.get $to) (local.get $at)) (i32.sub (local.get $wrong) (i32.const 1))))
(func $wrong_change (param $at i32) (param $name i32) (param $len i32) (result i32)
  (if (i32.load $handles offset={MODE} (local.get $at)) (then (return (i32.const {_IMMUTABLE}))))
  (call $wrong_name (local.get $name) (local.get $len)))
(func $set_fields (param $fields i32) (param $name i32) (param $len i32) (param $list i32) (param $n i32)
  (param $to i32) (local $at i32) (local $wrong i32) (local $i i32)
  (local.set $at {_ENTRY})
  (local.set $wrong (call $wrong_change (local.get $at) (local.get $name) (local.get $len)))
  (block $end (loop $next
    (br_if $end (i32.or (local.get $wrong) (i32.ge_u (local.get $i) (local.get $n))))
    (local.set $wrong (call $wrong_value
      (i32.load $b (i32.add (local.get $list) (i32.shl (local.get $i) (i32.const 3))))
      (i32.load $b offset=4 (i32.add (local.get $list) (i32.shl (local.get $i) (i32.const 3))))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $next)))
  (call $told_header (local.get $to) (i32.const 1) (local.get $wrong))
  (if (local.get $wrong) (then (return)))
  (call $without (local.get $at) (local.get $name) (local.get $len))
  (block $end (loop $next
    (br_if $end (i32.eqz (local.get $n)))
    (call $add (local.get $at) (local.get $name) (local.get $len) (i32.load $b (local.get $list))
      (i32.load $b offset=4 (local.get $list)))
    (local.set $list (i32.add (local.get $list) (i32.const 8)))
    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
    (br $next))))
(func $append_field (param $fields i32) (param $name i32) (param $len i32) (param $value i32)
  (param $value_len i32) (param $to i32) (local $at i32) (local $wrong i32)
  (local.set $at {_ENTRY})
  (local.set $wrong (call $wrong_change (local.get $at) (local.get $name) (local.get $len)))
  (if (i32.eqz (local.get $wrong))
    (then (local.set $wrong (call $wrong_value (local.get $value) (local.get $value_len)))))
  (call $told_header (local.get $to) (i32.const 1) (local.get $wrong))
  (if (i32.eqz (local.get $wrong)) (then
    (call $add (local.get $at) (local.get $name) (local.get $len) (local.get $value)
      (local.get $value_len)))))
(func $delete_fields (param $fields i32) (param $name i32) (param $len i32) (param $to i32)
  (local $at i32) (local $wrong i32)
  (local.set $at {_ENTRY})
  (local.set $wrong (call $wrong_change (local.get $at) (local.get $name) (local.get $len)))
  (call $told_header (local.get $to) (i32.const 1) (local.get $wrong))
  (if (i32.eqz (local.get $wrong))
    (then (call $without (local.get $at) (local.get $name) (local.get $len)))))
"""

SUPPORT = PAGES + CHECKS + STORE

NOTED = "(drop (call $note (i32.const -1)))\n"
_TO = "(local.get $to)"
_AT = f"(call $get {p(0)} (i32.const {K_FIELDS}))"

_DROPPED = f"""(local.set $at {_AT})
(call $leave (i32.load $handles offset={FD} (local.get $at)))
(call $release {p(0)})"""
_CLONED = f"""(local.set $at {_AT})
(call $copied_fields (i32.load $handles offset={FD} (local.get $at))
  (i32.wrap_i64 (i64.load $handles offset={AT} (local.get $at))) (i32.const 0))"""

BODIES = (
    Body("fields.new", f"{NOTED}(call $new_fields (call $page) (i32.const 0) (i32.const 0))"),
    Body("fields.from-list", f"{NOTED}(call $fields_of_list {p(0)} {p(1)} {_TO})"),
    Body(
        "fields.get",
        f"{NOTED}(call $lower {p(1)} {p(2)})(call $found_fields {p(0)} {p(1)} {p(2)} {_TO})",
    ),
    Body("fields.has", f"{NOTED}(call $lower {p(1)} {p(2)})(call $has_field {p(0)} {p(1)} {p(2)})"),
    Body("fields.set", f"{NOTED}(call $set_fields {p(0)} {p(1)} {p(2)} {p(3)} {p(4)} {_TO})"),
    Body("fields.delete", f"{NOTED}(call $delete_fields {p(0)} {p(1)} {p(2)} {_TO})"),
    Body("fields.append", f"{NOTED}(call $append_field {p(0)} {p(1)} {p(2)} {p(3)} {p(4)} {_TO})"),
    Body("fields.entries", f"{NOTED}(call $found_fields {p(0)} (i32.const 0) (i32.const 0) {_TO})"),
    Body("fields.clone", NOTED + _CLONED, ("$at i32",)),
    Body("fields.drop", NOTED + _DROPPED, ("$at i32",)),
)

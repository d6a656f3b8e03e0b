"""The built-in rules of the network, which every plan carries.

Which addresses they are about is said in `zones.py`. Their ids never change, because they stand in old audit
logs. INVARIANT: no rule of a document removes one; an address that it names literally is reached all the
same.
"""

from __future__ import annotations

from typing import Final

from policy.plan import Rule, RuleId, RuleKind
from policy.plan_network import Builtin

_LITERALLY = "name the address itself, or a network that lies wholly in this kind, in the `to` of a rule"

_TEXTS: Final = {
    Builtin.PRIVATE: (
        "an address of a private network is reached only where a rule says so",
        "add `private: allow` to the rule, or name the address in its `to`",
    ),
    Builtin.RESERVED: ("an address that is reserved is not reached", _LITERALLY),
    Builtin.MULTICAST: ("an address of many receivers is not reached", _LITERALLY),
    Builtin.LINK_LOCAL: ("an address of the local link is not reached", _LITERALLY),
    Builtin.LOOPBACK: ("an address of the machine itself is not reached", _LITERALLY),
    Builtin.METADATA: ("an address where clouds hand out credentials is not reached", _LITERALLY),
    Builtin.ADDRESS: ("an address is in its canonical form", "write it as 192.0.2.1 or 2001:db8::1"),
    Builtin.NAME: ("a name is in its canonical form", "write it in ASCII, as api.example.com"),
    Builtin.PORT: ("a port is a number from 1 to 65535", "use such a port"),
    Builtin.REQUEST: (
        "a request has a URL that no two servers read differently",
        "write it without user, `//`, `..`, `;`, backslash and escaped slashes",
    ),
    Builtin.METHOD: (
        "a request has a method in capitals, and none that opens a tunnel or sends its headers back",
        "use a method such as GET or POST",
    ),
}
assert set(_TEXTS) == set(Builtin)


def builtin_id(which: Builtin) -> RuleId:
    """The id of a built-in rule: `builtin.loopback`, `builtin.link-local`."""
    return RuleId(f"builtin.{which.name.lower().replace('_', '-')}")


def builtin_rules() -> tuple[Rule, ...]:
    """The rules, one for each `Builtin`, in its order."""
    return tuple(
        Rule(builtin_id(which), RuleKind.BUILTIN, "", summary, hint)
        for which, (summary, hint) in sorted(_TEXTS.items())
    )

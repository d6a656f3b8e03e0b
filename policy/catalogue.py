"""Every finding by its id: what it says, why it is one, and what to do about it; longer, being a table.

What is found is decided where it is found; lints bring their own summary and reason, in `checks/`. INVARIANT:
an id keeps its meaning, since people filter by it and suppress it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from policy.checks import CHECKS, SITUATIONAL_CHECKS


@dataclass(frozen=True, slots=True)
class Meaning:
    """What people should know of a finding."""

    what: str  # as a clause: "a key stands twice"
    why: str
    fix: str


_READERS = "readers of YAML disagree about such a text, and a reviewer must see what is enforced"
_BOUNDED = "a document is read by a service, in bounded time and memory"
_EXACT = "nothing is guessed: a value that could be read in two ways would grant what nobody meant"

_LINT_FIXES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "empty-access": "Name the rights, or set `mode: learn`, in which an empty list asks what is needed.",
        "relative-baseline": "Write an absolute URI in the baseline, or move the rule into the policies.",
        "nul-byte": "Remove the byte.",
        "environment-name": "Use a name of letters, digits and underscores, each once.",
        "unlimited": "Write a number that is far above what the module needs.",
        "no-digest": "Add `match.digest`; `wasmgate module inspect` prints it.",
        "whole-filesystem": "Name the directory that the module needs.",
        "writable-root": "Grant a directory made for this module, or scratch with `tmp://name`.",
        "wildcard-egress": "Name the hosts, as `api.example.com` or `*.example.com`.",
        "nested-grants": "Grant both mounts the same rights, or deny the inner directory.",
        "shadowed-mount": "Move the inner mount elsewhere, or deny what it hides.",
        "unused-right": "Remove the right.",
        "look-alike": "Type the name anew, with the letters of one script.",
        "plain-secret": "Put the secret into a file that a rule grants, outside the policy.",
        "unknown-audit-call": "Take a name of a call, such as `fd_read`, or a glob that fits some.",
        "dead-audit-rule": "Remove it, or move it before the rule that takes its calls.",
        "unlimited-payload": "Set `resources.limits.host_calls`, or keep `digest` or `head:256`.",
        "walls-without-confinement": "Write `isolation: confined`, or require no wall.",
        "match-missing": "Add `match` with a `digest` or a `name`.",
        "expired": "Have the policy reviewed, then set a later time.",
        "leads-elsewhere": "Write the path that the link leads to.",
        "not-enforceable-yet": "Remove the part, or write `when_unenforceable: warn` and accept a run "
        "without it.",
    }
)

_OTHERS: Final[Mapping[str, Meaning]] = MappingProxyType(
    {
        "not-utf-8": Meaning("the document is not UTF-8", _READERS, "Save it as UTF-8."),
        "nul": Meaning("the text holds a NUL byte", _READERS, "Remove it."),
        "syntax": Meaning(
            "the text is no YAML, JSON or TOML, or holds a character that no document may hold as it is",
            _READERS,
            "Mend it at the place that is named; write odd characters as escapes in double quotes.",
        ),
        "empty": Meaning(
            "there is nothing in the document", _EXACT, "Start with `version: 1` and `metadata`."
        ),
        "several-documents": Meaning("a file holds several documents", _READERS, "Make a file of each."),
        "directive": Meaning("a line starts with `%`", _READERS, "Remove it."),
        "tag": Meaning("a value has a tag such as `!!int`", _READERS, "Remove the tag."),
        "bad-key": Meaning("a key is a list, a mapping or an alias", _EXACT, "Write a word."),
        "duplicate-key": Meaning("a key stands twice in one mapping", _READERS, "Keep one of them."),
        "bad-alias": Meaning(
            "an alias names nothing that stands before it", _EXACT, "Write the value itself."
        ),
        "too-many-aliases": Meaning(
            "there are more than 16 anchors or aliases", _BOUNDED, "Write the values out."
        ),
        "too-large": Meaning(
            "the document has more than 1 MiB, 100,000 values or 300,000 slashes", _BOUNDED, "Split it."
        ),
        "too-deep": Meaning("it is nested more than 64 levels deep", _BOUNDED, "Flatten it."),
        "too-many-rules": Meaning(
            "it has more rules than are read, or than a plan holds", _BOUNDED, "Split it, or use globs."
        ),
        "more-findings": Meaning("there are more findings than are shown", _BOUNDED, "Mend those first."),
        "unknown-key": Meaning(
            "a key is not known at its place",
            "a misspelt rule would be no rule",
            "Take the key that is proposed.",
        ),
        "missing-key": Meaning("a key that is needed is missing", _EXACT, "Add it."),
        "wrong-type": Meaning(
            "a value is of another type than its key takes",
            _EXACT,
            "Write what is expected; `true` and `false` without quotes are the only booleans.",
        ),
        "wrong-kind": Meaning(
            "the document is of another kind than is wanted here",
            _EXACT,
            "Use another command, or change `kind`.",
        ),
        "bad-value": Meaning("a word is none of those that its key takes", _EXACT, "Take one of the words."),
        "bad-version": Meaning("the version of the format is not 1", _EXACT, "Write `version: 1`."),
        "bad-name": Meaning(
            "a name of a document is none",
            "it stands in records, on command lines and in paths",
            "Use letters, digits, `.`, `_`, `-` and `/`.",
        ),
        "bad-id": Meaning(
            "an id of a rule is none",
            "it stands in each record that the rule decides",
            "Use letters, digits, `.`, `_` and `-`.",
        ),
        "bad-text": Meaning("a text is empty or holds a NUL byte", _EXACT, "Write a text."),
        "bad-digest": Meaning(
            "a digest is none",
            "a wrong one matches nothing, and nobody notices",
            "Write `sha256:` and 64 lower-case hexadecimal digits.",
        ),
        "bad-quantity": Meaning(
            "a size, count or duration is none, or out of bounds",
            _EXACT,
            "Write the unit as the message says: `64Mi`, `20G`, `250ms`.",
        ),
        "bad-time": Meaning(
            "a time is no RFC 3339 time", _EXACT, "Write it with its offset: `2026-01-01T00:00:00Z`."
        ),
        "bad-choice": Meaning(
            "a clock or the randomness is set to something unknown", _EXACT, "Take one of the forms."
        ),
        "bad-path": Meaning("a path, a glob or a URI is none", _EXACT, "Write it as the message proposes."),
        "bad-label": Meaning("a label has no value", _EXACT, "Write `key=value`."),
        "empty-list": Meaning(
            "a list that must hold something is empty", _EXACT, "Write an item, or leave the key out."
        ),
        "bad-placeholder": Meaning(
            "a `${…}` is none of the four, or stands where it is not replaced",
            "it would be taken for literal text",
            "Use `${tenant}`, `${run.id}`, `${module.name}` or `${module.digest}`, in paths, arguments "
            "and values.",
        ),
        "bad-substitution": Meaning(
            "what a `${…}` stands for is no plain segment of a path",
            "a tenant named `..` would leave its folder",
            "Rename the tenant or the module.",
        ),
        "bad-host": Meaning(
            "a host is none, or a bare `*` without its word",
            "a rule would reach others than was meant",
            "Name the host; beside `*` write `i_understand: any-destination`.",
        ),
        "bad-address": Meaning(
            "an address or a network is not in its canonical form",
            "resolvers read odd spellings differently",
            "Write it as the message proposes.",
        ),
        "bad-port": Meaning(
            "a port or a range of ports is none",
            _EXACT,
            "Write 1 to 65535, a range such as `8000-8010`, or `*`.",
        ),
        "bad-url": Meaning(
            "a URL is none, or has a path",
            "paths are globs and stand in `paths`",
            "Write the scheme and the host, as `https://api.example.com`.",
        ),
        "bad-method": Meaning(
            "a method is none, can't be granted, or no method is granted",
            "`CONNECT` opens a tunnel to anywhere",
            "Write it in capitals, or use `access`.",
        ),
        "bad-header": Meaning("the name of a header is none", _EXACT, "Write the name alone."),
        "bad-listener": Meaning(
            "a place to listen at is none", "a name can lead anywhere", "Write `tcp://127.0.0.1:8080`."
        ),
        "bad-credential": Meaning(
            "a credential says no secret or no header",
            _EXACT,
            "Write `from: secret://name` and `as: header:Name`.",
        ),
        "bad-deny": Meaning(
            "keys of a rule that refuses do not go together",
            "a refusal that covers less than it seems to is worse than none",
            "Write `to` with `ports`, or `url` with `methods` and `paths`.",
        ),
        "bad-trigger": Meaning(
            "a rule over time has no trigger or several",
            _EXACT,
            "Write one of `opened`, `bytes_in`, `bytes_out`, `calls`.",
        ),
        "bad-target": Meaning(
            "what a rule over time watches is neither a path nor a host",
            _EXACT,
            "Write `fs:///…`, `tmp://…`, a host, an address, or `*`.",
        ),
        "empty-rule": Meaning("a rule over time does nothing", _EXACT, "Write `deny`, `raise`, or both."),
        "bad-anchor": Meaning(
            "an anchor lacks the key of its kind", _EXACT, "Write `path` for a file, `url` for a webhook."
        ),
        "mount-conflict": Meaning(
            "two directories are put at one guest path",
            "the guest could see only one of them",
            "Choose another `mount`.",
        ),
        "mount-missing": Meaning(
            "a `tmp://` rule has no `mount`", "scratch has no path of its own", "Add `mount`."
        ),
        "file-rule": Meaning(
            "a rule for one file has globs, or puts it under another name",
            "a file is mounted by its directory",
            "End the `mount` in the same name; for a directory, end the `uri` in `/**`.",
        ),
        "duplicate-id": Meaning(
            "two rules have one id, or one rule stands twice",
            "a record could not say which one decided",
            "Rename or remove one; ids of the built-in rules are taken.",
        ),
        "dead-rule": Meaning(
            "a rule decides nothing",
            "its author believes that it does",
            "Remove it, or mend its path; below a built-in denial nothing can be granted.",
        ),
        "too-many-states": Meaning(
            "globs interlock so much that their table would be too large",
            _BOUNDED,
            "Use fewer globs with several wildcards in one segment.",
        ),
        "no-lookup": Meaning(
            "a rule names a host whose lookup is not granted",
            "it meets no address then",
            "Add the name to `dns.names`.",
        ),
        "unknown-baseline": Meaning(
            "`extends` names a baseline that is not there",
            "rules would be missing without a word",
            "Name the folder with `--library`, or take the name that is proposed.",
        ),
        "extends-cycle": Meaning(
            "baselines extend each other in a circle",
            "none of them would be first",
            "Remove one of the links.",
        ),
        "conflicting-parents": Meaning(
            "two baselines set one value differently",
            "which one holds would depend on their order",
            "Set the value in the document itself.",
        ),
        "duplicate-name": Meaning(
            "two baselines, or two boundaries, have one name",
            "which one is meant could not be said",
            "Rename one.",
        ),
        "outside-boundary": Meaning(
            "a policy grants, or leaves out, what a boundary does not let it",
            "a boundary is the most that anybody can grant",
            "Narrow the policy; only the owner of the boundary can widen that.",
        ),
        "unsure-boundary": Meaning(
            "it is not known whether a boundary applies",
            "its `match` names tenants or modules, and the policy does not say which it is for",
            "Name them in `match`, or give `--tenant`.",
        ),
        "unknown-policy": Meaning(
            "tests are about a policy that is not found",
            "a test that is run on nothing proves nothing",
            "Name a file beside them or a policy of the library.",
        ),
        "unknown-call": Meaning(
            "a test is about a call that there is not",
            "it can't pass, and the next reader looks for the fault in the policy",
            "Take the name that is proposed.",
        ),
        "bad-model": Meaning(
            "the model of a resolution or of roles is none that is understood",
            "it decides who runs what, and who may do what",
            "Start from the model in `policies/resolution/`.",
        ),
        "too-many-lines": Meaning(
            "a file of bindings has more lines than are read",
            _BOUNDED,
            "Bind groups instead of single modules.",
        ),
        "odd-character": Meaning(
            "a line of bindings holds a character outside printable ASCII",
            "names that look alike would be others",
            "Type it anew.",
        ),
        "malformed-line": Meaning(
            "a line of bindings has another form than its kind asks for",
            _EXACT,
            "Write it as the message says.",
        ),
        "duplicate-line": Meaning(
            "a line of bindings stands twice", "who takes one away believes it gone", "Remove one."
        ),
        "unknown-group": Meaning(
            "a binding names a group that nothing belongs to",
            "it binds nothing",
            "Take the name that is proposed, or add a member.",
        ),
        "unknown-tenant": Meaning(
            "a binding names a tenant that is not known",
            "it binds nothing",
            "Take the name that is proposed.",
        ),
        "cycle": Meaning(
            "groups belong to each other in a circle", "all of them would be one", "Remove one of the lines."
        ),
    }
)

MEANINGS: Final[Mapping[str, Meaning]] = MappingProxyType(
    {
        check.ID: Meaning(check.SUMMARY, check.WHY, _LINT_FIXES[check.ID])
        for check in (*CHECKS, *SITUATIONAL_CHECKS)
    }
    | dict(_OTHERS)
)
"""Lints first, then the rest."""

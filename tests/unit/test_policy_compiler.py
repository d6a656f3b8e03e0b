"""Documents to plans: what each section becomes, and what is refused."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, get_args

import pytest

from policy import Plan, PolicyError, RuleId, check_policy, compile_policy, fixed, load_document, rule_index
from policy.calls import CALL_CODES
from policy.explain import explain_plan
from policy.plan import (
    UNLIMITED,
    VIRTUAL_MONOTONIC_NS,
    VIRTUAL_WALL_NS,
    WALLS,
    Clocks,
    Engine,
    Isolation,
    Limits,
    Mode,
    Random,
    RuleKind,
    Runtime,
    SourceKind,
    Stdio,
)
from policy.plan_audit import Audit, Sync, Timestamps
from policy.schema_run import IsolationWord, WallWord

HEAD = "version: 1\nmetadata: {name: p}\n"


def compiled(text: str = "", **options: Any) -> Plan:
    arguments: dict[str, Any] = {"base_dir": "/base", "now_ns": None} | options
    return compile_policy(load_document((HEAD + text).encode(), file="p.yaml"), **arguments)


def refused(text: str, **options: Any) -> set[str]:
    with pytest.raises(PolicyError) as caught:
        compiled(text, **options)
    return {finding.id for finding in caught.value.findings}


def storage(*rules: str, deny: str = "") -> str:
    return f"permissions: {{storage: {{allow: [{', '.join(rules)}], deny: [{deny}]}}}}"


def test_an_empty_policy_grants_nothing_and_has_every_default():
    plan = compiled()
    assert (plan.mounts, plan.environment, plan.args, plan.match_names) == ((), (), (), ())
    assert plan.mode is Mode.ENFORCE
    assert plan.is_extra_args_allowed
    assert plan.stdio == Stdio()
    assert plan.clocks == Clocks()
    assert plan.random == Random()
    assert plan.runtime == Runtime()
    assert plan.audit == Audit()
    assert plan.limits == Limits(
        memory_bytes=64 * 2**20, cpu_ms=5_000, wall_ms=10_000, fuel=UNLIMITED, module_bytes=64 * 2**20,
        compile_ms=30_000, stack_bytes=512 * 2**10, tables=4, table_elements=10_000, instances=8, memories=2,
        stdout_bytes=2**20, stderr_bytes=256 * 2**10, disk_bytes=16 * 2**20, files=256, open_files=64,
        host_calls=1_000_000,
    )  # fmt: skip


@pytest.mark.parametrize(
    "section",
    ["permissions:", "permissions: {}", "permissions: {storage: , network: {}, environment: {allow: }}",
     "permissions: {storage: {allow: [], deny: []}, network: {tcp: []}, args: []}", "resources: {limits: }"],
)  # fmt: skip
def test_an_empty_section_means_the_same_as_none(section):
    def content(plan: Plan) -> Plan:
        return dataclasses.replace(plan, policy_digest="", plan_digest="")

    assert content(compiled(section)) == content(compiled())


def test_the_first_rule_is_the_default_and_every_plan_has_the_fixed_ones():
    plan = compiled()
    assert (plan.rules[0].id, plan.rules[0].kind) == (fixed.DEFAULT, RuleKind.DEFAULT)
    for rule in (fixed.BENEATH, fixed.SYMLINK, fixed.FILE_TYPE, fixed.NO_WIDENING, fixed.PATH_LENGTH, fixed.HANDLE,
                 fixed.AUDIT, fixed.LIMIT_HOST_CALLS, fixed.LIMIT_STDOUT, fixed.LIMIT_STDERR, fixed.LIMIT_DISK,
                 fixed.LIMIT_FILES, fixed.LIMIT_OPEN_FILES, fixed.NETWORK_NONE):  # fmt: skip
        assert plan.rules[rule_index(plan, rule)].id == rule
    with pytest.raises(KeyError):
        rule_index(plan, RuleId("nowhere"))


def test_sockets_are_refused_by_name():
    plan = compiled()
    calls = (*fixed.SOCKET_CALLS, *fixed.REQUEST_CALLS)
    assert dict(plan.denied_calls) == dict.fromkeys(calls, rule_index(plan, fixed.NETWORK_NONE))
    assert all(call in CALL_CODES for call, _ in plan.denied_calls)


def test_capabilities_at_none_have_a_rule_and_others_have_not():
    all_none = (
        "permissions: {random: none, clocks: {wall: none, monotonic: none}, "
        "stdio: {stdin: none, stdout: none, stderr: none}}"
    )
    ids = {fixed.RANDOM_NONE, fixed.CLOCKS_WALL, fixed.CLOCKS_MONOTONIC, fixed.STDIO_STDIN, fixed.STDIO_STDOUT,
           fixed.STDIO_STDERR}  # fmt: skip
    plan = compiled(all_none)
    assert ids <= {rule.id for rule in plan.rules}
    assert dict(plan.denied_calls)["random_get"] == rule_index(plan, fixed.RANDOM_NONE)
    assert ids & {rule.id for rule in compiled("permissions: {stdio: {stdin: caller}}").rules} == set()


def test_mounts_are_sorted_and_default_to_the_host_path():
    plan = compiled(
        storage(
            '{uri: "fs:///srv/b/**", access: [read]}',
            '{uri: "fs:./rel/**", mount: /a, access: [read]}',
            '{uri: "tmp://out", mount: /c, access: [create]}',
        )
    )
    assert [(mount.guest, mount.host, mount.scratch, mount.base) for mount in plan.mounts] == [
        ("/a", "/base/rel", "", "/base/rel"),
        ("/c", "", "out", "tmp://out"),
        ("/srv/b", "/srv/b", "", "/srv/b"),
    ]


def test_a_file_is_mounted_by_its_folder():
    (mount,) = compiled(
        storage('{uri: "fs:///srv/state.json", mount: /in/state.json, access: [read]}')
    ).mounts
    assert (mount.guest, mount.host) == ("/in", "/srv")


def test_a_file_at_the_root_is_mounted_by_the_root():
    (mount,) = compiled(storage('{uri: "fs:///state.json", access: [read]}')).mounts
    assert (mount.guest, mount.host) == ("/", "/")


def test_a_file_must_keep_its_name():
    assert refused(storage('{uri: "fs:///srv/a", mount: /in/b, access: [read]}')) == {"file-rule"}


def test_rules_for_one_mount_share_it():
    plan = compiled(storage('{uri: "fs:///m/**", access: [list]}', '{uri: "fs:///m/x", access: [read]}'))
    assert len(plan.mounts) == 1


def test_nested_guest_mounts_are_fine():
    plan = compiled(
        storage(
            '{uri: "fs:///a/**", mount: /in, access: [read]}',
            '{uri: "fs:///b/**", mount: /in/b, access: [read]}',
        )
    )
    assert [mount.guest for mount in plan.mounts] == ["/in", "/in/b"]


def test_two_folders_at_one_guest_path_are_not():
    text = storage(
        '{uri: "fs:///a/**", mount: /in, access: [read]}', '{uri: "fs:///b/**", mount: /in, access: [read]}'
    )
    assert refused(text) == {"mount-conflict"}


@pytest.mark.parametrize("mount", ["in", "/in/", "/in//a", "/in/../a", "/./in", '""', '"/a\\0b"'])
def test_guest_paths_are_absolute_and_normalised(mount):
    assert refused(storage(f'{{uri: "fs:///a/**", mount: {mount}, access: [read]}}')) == {"bad-path"}


def test_budgets_of_a_rule_stand_in_the_rule():
    plan = compiled(
        storage('{id: o, uri: "tmp://o", mount: /o, access: [write], max_bytes: 1k, max_files: 2}')
    )
    rule = plan.rules[rule_index(plan, RuleId("o"))]
    assert (rule.max_bytes, rule.max_files, rule.kind) == (1000, 2, RuleKind.ALLOW)


def test_rules_without_an_id_get_a_stable_one():
    one = compiled(storage('{uri: "fs:///a/**", access: [read, list]}'))
    same = compiled(
        storage('{access: [list, read], uri: "fs:///a/**"}', '{uri: "fs:///b/**", access: [read]}')
    )
    names = [{rule.id for rule in plan.rules if rule.kind is RuleKind.ALLOW} for plan in (one, same)]
    assert names[0] < names[1]
    assert next(iter(names[0])).startswith("allow-")


@pytest.mark.parametrize(
    "rules",
    [
        ('{id: x, uri: "fs:///a/**", access: [read]}', '{id: x, uri: "fs:///b/**", access: [read]}'),
        ('{uri: "fs:///a/**", access: [read]}', '{uri: "fs:///a/**", access: [read]}'),
        ('{id: default, uri: "fs:///a/**", access: [read]}',),
        ('{id: builtin.proc, uri: "fs:///a/**", access: [read]}',),
        ('{id: builtin.of-another-version, uri: "fs:///a/**", access: [read]}',),
        ('{id: ceiling.storage.never, uri: "fs:///a/**", access: [read]}',),
        ('{id: random.none, uri: "fs:///a/**", access: [read]}',),
        ('{id: match, uri: "fs:///a/**", access: [read]}',),
    ],
)
def test_ids_are_unique(rules):
    assert "duplicate-id" in refused(storage(*rules))
    compiled(storage('{id: builtin, uri: "fs:///a/**", access: [read]}'))
    compiled(storage('{id: match-all, uri: "fs:///a/**", access: [read]}'))


def test_a_rule_under_a_built_in_deny_is_an_error():
    assert refused(storage('{uri: "fs:///proc/self/**", access: [read]}')) == {"dead-rule"}
    assert refused(storage('{uri: "fs:///etc/shadow", access: [read]}')) == {"dead-rule"}
    compiled(storage('{uri: "fs:///etc/**", access: [read]}'))


def test_a_rule_that_decides_nothing_is_a_warning():
    text = storage('{uri: "fs:///a/**", access: [read]}', '{uri: "fs:///a/x", access: [read]}')
    document = load_document((HEAD + text).encode(), file="p")
    (finding,) = check_policy(document, base_dir="/base", now_ns=None)
    assert (finding.id, finding.severity, finding.field) == (
        "dead-rule",
        "warning",
        "permissions.storage.allow[1].uri",
    )
    compiled(text)


def test_an_expired_policy_is_refused_and_one_that_holds_is_not():
    text = b"version: 1\nmetadata: {name: p, expires: 1970-01-01T00:00:10Z}\n"
    document = load_document(text, file="p")
    compile_policy(document, base_dir="/", now_ns=10 * 10**9 - 1)
    compile_policy(document, base_dir="/", now_ns=None)
    with pytest.raises(PolicyError, match="expired"):
        compile_policy(document, base_dir="/", now_ns=10 * 10**9)


def test_a_stored_policy_needs_a_match():
    assert refused("", is_stored=True) == {"match-missing"}
    assert compiled("match: {name: m}", is_stored=True).match_names == ("m",)


def test_clocks_and_randomness():
    plan = compiled(
        'permissions: {clocks: {wall: "frozen:1970-01-01T00:00:01Z", monotonic: "frozen:5s", resolution: 1ms}, '
        "random: 'seeded:00'}"
    )
    assert plan.clocks == Clocks(SourceKind.FIXED, 10**9, SourceKind.FIXED, 5 * 10**9, 10**6)
    assert plan.random.kind is SourceKind.FIXED
    assert len(plan.random.seed) == 32


def test_limits_runtime_and_audit():
    plan = compiled(
        "resources: {limits: {memory: unlimited, cpu: 1ms, host_calls: 10}}\n"
        "runtime: {engine: pulley, cache: false}\n"
        "audit: {sync: all, on_full: kill, timestamps: exact, retain: 1d}\n"
    )
    assert (plan.limits.memory_bytes, plan.limits.cpu_ms, plan.limits.host_calls) == (UNLIMITED, 1, 10)
    assert plan.runtime == Runtime(Engine.PULLEY, cache=False)
    assert plan.audit == Audit(Sync.ALL, 0, Timestamps.EXACT, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Runtime(isolation=Isolation.CONFINED)),
        ("isolation: process", Runtime(isolation=Isolation.PROCESS)),
        ("require_walls: [seccomp, landlock, seccomp]", Runtime(require_walls=("landlock", "seccomp"))),
        (f"require_walls: [{', '.join(WALLS)}]", Runtime(require_walls=WALLS)),
        ("require_walls: []", Runtime()),
        ("deterministic: true", Runtime(deterministic=True)),
    ],
)
def test_what_a_run_is_kept_in(text, expected):
    assert compiled(f"runtime: {{{text}}}").runtime == expected


def test_a_module_that_is_named_by_its_digest_may_be_trusted_with_a_process():
    plan = compiled(f"match: {{digest: 'sha256:{'0' * 64}'}}\nruntime: {{isolation: in-process}}")
    assert plan.runtime == Runtime(isolation=Isolation.IN_PROCESS)
    assert plan.unenforced == ()


def test_a_deterministic_run_has_no_real_clock_and_no_real_randomness():
    plan = compiled("runtime: {deterministic: true}")
    virtual = SourceKind.VIRTUAL
    assert plan.clocks == Clocks(virtual, VIRTUAL_WALL_NS, virtual, VIRTUAL_MONOTONIC_NS)
    assert plan.random == Random(virtual)
    said = (
        "permissions: {clocks: {wall: 'frozen:1970-01-01T00:00:01Z', monotonic: none}, random: 'seeded:00'}\n"
    )
    own = compiled(said + "runtime: {deterministic: true}")
    without = compiled(said)
    assert (own.clocks, own.random) == (without.clocks, without.random)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("isolation: processs", 'did you mean "process"?'),
        ("isolation: vm", "expected one of confined, process, in-process"),
        ("require_walls: [landlok]", 'did you mean "landlock"?'),
        ("require_walls: [monitor]", "expected one of no_new_privs, rlimits"),
        ("isolation: in-process", "no digest names it"),
        ("isolation: process, require_walls: [landlock]", "landlock stands with the isolation confined only"),
        ("isolation: process, require_walls: [cgroup, rlimits]", "cgroup, rlimits stand with the isolation"),
        ("deterministic: yes", "expected true or false"),
    ],
)
def test_what_no_run_is_kept_in_is_refused(text, problem):
    with pytest.raises(PolicyError, match=re.escape(problem)):
        compiled(f"runtime: {{{text}}}")


def test_the_words_of_a_document_are_those_of_a_plan():
    assert get_args(IsolationWord) == tuple(reversed([each.value for each in Isolation]))
    assert get_args(WallWord) == WALLS


@pytest.mark.parametrize(
    "limit",
    ["memory: 65535", "cpu: 999us", "open_files: 4001", "open_files: unlimited", "stack: unlimited", "host_calls: 2T",
     "files: -1", "memory: 1.5Gi", "timeout: 0s"],
)  # fmt: skip
def test_limits_outside_their_bounds_are_refused(limit):
    assert refused(f"resources: {{limits: {{{limit}}}}}") == {"bad-quantity"}


def test_a_scalar_that_yaml_1_1_would_misread_is_kept():
    plan = compiled(
        'permissions: {environment: {allow: [{key: "NO", value: no}, {key: T, value: 12:30}]}, args: [0644]}'
    )
    assert (plan.environment, plan.args) == ((("NO", "no"), ("T", "12:30")), ("0644",))


def test_audit_mode_makes_every_mount_mutable():
    assert compiled("mode: audit\n" + storage('{uri: "fs:///a/**", access: [read]}')).mounts[0].is_mutable


def test_digests_name_the_text_and_the_plan():
    one, same, other = compiled(), compiled("# a remark\n"), compiled("permissions: {random: none}")
    assert one.policy_digest != same.policy_digest

    assert len({plan.plan_digest for plan in (one, other)}) == 2
    assert one.plan_digest == compiled().plan_digest
    assert one.plan_digest.startswith("sha256:")


def test_the_folder_must_be_absolute():
    with pytest.raises(ValueError, match="rel"):
        compiled(base_dir="rel")


def test_interlocking_globs_are_refused_with_a_reason():
    globs = ", ".join(f'"*{a}*{b}*/x{a}{b}"' for a in "abcdefgh" for b in "ijklmnop")
    assert refused(storage(f'{{uri: "fs:///m/**", access: [read], include: [{globs}]}}')) == {
        "too-many-states"
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("isolation: process", "It runs in a process of its own, without walls of the operating system."),
        (
            "isolation: in-process",
            "It runs in the process of whoever runs it, without walls of the operating",
        ),
        ("require_walls: [seccomp]", "Nothing runs unless these walls stand: seccomp."),
        (
            "deterministic: true",
            "Wall clock: virtual, from 2000-01-01T00:00:00Z on; monotonic clock: virtual, from",
        ),
        ("deterministic: true", "Random bytes: from a seed made of the policy and the module."),
        (
            "deterministic: true",
            "Runs are deterministic: the same module and the same input give the same digest.",
        ),
    ],
)
def test_what_a_run_is_kept_in_is_explained(text, said):
    named = f"match: {{digest: 'sha256:{'0' * 64}'}}\n"
    explained = "\n".join(explain_plan(compiled(f"{named}runtime: {{{text}}}")))
    assert said in explained
    assert said not in "\n".join(explain_plan(compiled()))

"""What the lists of cells and of the compiler hold, on each machine that has a table."""

from __future__ import annotations

import fcntl
import mmap

import pytest

from sandbox.confinement.bpf import Action
from sandbox.confinement.filters import cell_filter, compiler_filter
from sandbox.confinement.syscalls import MACHINES
from tests.unit.test_sandbox_confinement_bpf import ALLOW, interpret

PID, LEASH = 4_711, 7
NEVER = {  # x86-64, arm64
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "socketpair": (53, 199), "sendmsg": (46, 211),
    "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117), "kill": (62, 129), "mount": (165, 40),
    "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280), "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434), "memfd_create": (319, 279), "setuid": (105, 146), "capset": (126, 91),
}  # fmt: skip
COLUMNS = {"x86_64": 0, "aarch64": 1}


def ask(program: bytes, machine: str, number: int, *args: int) -> int:
    arch = MACHINES[machine].audit_arch
    return interpret(program, number=number, arch=arch, args=(*args, 0, 0, 0, 0, 0, 0)[:6])


def programs(machine: str) -> list[bytes]:
    cells = [
        cell_filter(machine, PID, leash=LEASH, has_files=files, can_change=change)
        for files in (False, True)
        for change in (False, True)
    ]
    return [*cells, compiler_filter(machine, PID)]


@pytest.mark.parametrize("machine", MACHINES)
def test_no_list_has_what_leads_out(machine):
    for program in programs(machine):
        assert {ask(program, machine, row[COLUMNS[machine]]) for row in NEVER.values()} == {Action.KILL}


@pytest.mark.parametrize("machine", MACHINES)
def test_a_program_is_short_enough_for_the_kernel(machine):
    assert max(len(program) for program in programs(machine)) <= 4_096 * 8


@pytest.mark.parametrize("machine", MACHINES)
def test_files_are_opened_only_where_there_are_mounts_and_changed_only_where_one_may(machine):
    numbers = MACHINES[machine].numbers
    without, looking, changing = (
        cell_filter(machine, PID, leash=LEASH, has_files=files, can_change=change)
        for files, change in ((False, False), (True, False), (True, True))
    )
    assert [ask(one, machine, numbers["openat"]) for one in (without, looking, changing)] == [
        Action.DENY, ALLOW, ALLOW,
    ]  # fmt: skip
    assert [ask(one, machine, numbers["unlinkat"]) for one in (without, looking, changing)] == [
        Action.KILL, Action.KILL, ALLOW,
    ]  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES)
def test_a_cell_maps_memory_and_no_code(machine):
    program, numbers = (
        cell_filter(machine, PID, leash=LEASH, has_files=True, can_change=True),
        MACHINES[machine].numbers,
    )
    plain, code = mmap.PROT_READ | mmap.PROT_WRITE, mmap.PROT_READ | mmap.PROT_EXEC
    for name in ("mmap", "mprotect"):
        assert ask(program, machine, numbers[name], 0, 4_096, plain) == ALLOW
        assert ask(program, machine, numbers[name], 0, 4_096, code) == Action.KILL
    assert ask(compiler_filter(machine, PID), machine, numbers["mprotect"], 0, 4_096, code) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_a_clone_is_a_thread_and_nothing_else(machine):
    thread, fork, new_network = 0x3D_0F00, 17, 0x3D_0F00 | 0x4000_0000
    for program in programs(machine):
        number = MACHINES[machine].numbers["clone"]
        said = [
            ask(program, machine, number, flags) for flags in (thread, fork, new_network, 1 << 32 | thread)
        ]
        assert said == [ALLOW, Action.KILL, Action.KILL, Action.KILL]
        assert ask(program, machine, MACHINES[machine].numbers["clone3"]) == Action.ABSENT


@pytest.mark.parametrize("machine", MACHINES)
def test_a_process_signals_itself_and_sends_only_to_whom_it_is_connected(machine):
    program, numbers = (
        cell_filter(machine, PID, leash=LEASH, has_files=False, can_change=False),
        MACHINES[machine].numbers,
    )
    assert ask(program, machine, numbers["tgkill"], PID, PID + 1, 6) == ALLOW
    assert ask(program, machine, numbers["tgkill"], PID + 1, PID + 1, 6) == Action.KILL
    assert ask(program, machine, numbers["sendto"], 3, 1, 1, 0, 0, 0) == ALLOW
    assert ask(program, machine, numbers["sendto"], 3, 1, 1, 0, 1 << 40, 16) == Action.KILL
    assert ask(program, machine, numbers["recvfrom"], 3, 1, 1, 0, 1 << 40) == Action.KILL


@pytest.mark.parametrize("machine", MACHINES)
def test_nothing_is_done_to_what_ends_a_cell(machine):
    program = cell_filter(machine, PID, leash=LEASH, has_files=True, can_change=True)
    numbers = MACHINES[machine].numbers
    for name in ("close", "dup"):
        assert ask(program, machine, numbers[name], LEASH) == Action.KILL
        assert ask(program, machine, numbers[name], 1 << 32 | LEASH) == Action.KILL  # the kernel takes an int
        assert ask(program, machine, numbers[name], LEASH + 1) == ALLOW
    for command in (fcntl.F_SETFL, fcntl.F_DUPFD, fcntl.F_GETFD):
        assert ask(program, machine, numbers["fcntl"], LEASH, command) == Action.KILL
        assert ask(program, machine, numbers["fcntl"], LEASH - 1, command) == ALLOW
    assert ask(program, machine, numbers["fcntl"], LEASH - 1, fcntl.F_SETOWN) == Action.KILL


def test_a_machine_without_a_table_has_no_program():
    with pytest.raises(KeyError):
        cell_filter("riscv64", PID, leash=LEASH, has_files=False, can_change=False)


def test_the_newest_numbers_that_are_named_are_known_to_the_tables():
    for table in MACHINES.values():
        assert max(table.numbers.values()) <= table.newest
        assert len(set(table.numbers.values())) == len(table.numbers)

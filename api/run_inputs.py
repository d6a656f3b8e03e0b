"""What one run starts from: the module's bytes, and the plan of the policy that was named or that governs it.

Running is done by `service.py`, finding the governing policy by `resolving.py`. INVARIANT: the plan is
compiled for the very bytes that run, and for the id under which the run is recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from api.library import Folder
from api.loading import UnreadableError, load_folders, load_plan, read_file
from audit.identity import new_execution_id
from policy.subject import Subject
from sandbox.admission import digest_of

if TYPE_CHECKING:
    from api.settings import Settings
    from audit.identity import ExecutionId
    from policy.plan import Plan
    from policy.resolution import Resolved

_MAX_MODULE_BYTES = 1 << 30  # as the largest upload; what a policy allows is said when its plan is there


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody asks to be run, for whom and under what."""

    module_file: str
    policy_file: str | None  # None: the one that the bindings name
    library: tuple[str, ...]
    tenant: str

    @property
    def module_name(self) -> str:
        """The name that policies and bindings match."""
        return Path(self.module_file).name


@dataclass(frozen=True, slots=True)
class RunInputs:
    """A module and the plan it runs under."""

    exec_id: ExecutionId
    module: bytes
    plan: Plan
    resolution: Resolved | None  # None: the policy was named


def has_bindings(settings: Settings) -> bool:
    """Say whether the settings' folder of policies binds policies to modules."""
    return (settings.policies_dir / "resolution").is_dir()


def read_inputs(asked: Asked, settings: Settings) -> RunInputs:
    """Read the module, then compile its policy for it and for one run.

    Raises UnreadableError, LibraryError, UngovernedError and PolicyError.
    """
    exec_id = new_execution_id()
    module = read_file(asked.module_file, what="module", max_bytes=_MAX_MODULE_BYTES)
    if len(module) > _MAX_MODULE_BYTES:
        raise UnreadableError("module", asked.module_file, f"larger than {_MAX_MODULE_BYTES >> 20} MiB")
    subject = Subject(
        tenant=asked.tenant,
        module_name=asked.module_name,
        module_digest=digest_of(module),
        run_id=exec_id,
    )
    if asked.policy_file is not None:
        plan = load_plan(asked.policy_file, library=asked.library, subject=subject, settings=settings)
        return RunInputs(exec_id, module, plan, None)
    from api.resolving import governed

    found = governed(load_folders(asked.library, settings), Folder.of_settings(settings), subject)
    return RunInputs(exec_id, module, found.plan, found.resolution)

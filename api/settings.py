"""Settings of this program: read once from the environment, checked, and frozen.

What a policy says is no setting; it lives in `policy/`. This is the only reader of the environment, and
longer because every setting is here.
INVARIANT: a `WASMGATE_` variable that is misspelt or out of range is an error that says how to fix it, never
a default.
"""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from audit.inert import inert
from audit.scaleout.backend import Backend
from audit.scaleout.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

PREFIX = "WASMGATE_"
_KIB, _MIB, _GIB, _TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
_SHOWN = 80
_ORIGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,99}")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError("an absolute path without `..`")
    return path


def _loopback(host: str) -> str:
    try:
        is_loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        # SECURITY: there is one key and no TLS yet; a proxy in front can add what is missing.
        raise ValueError("a loopback address, as 127.0.0.1 or ::1")
    return host


def _origin(name: str) -> str:
    # SPEC: C2SP signed-note: a key's name is not empty and has neither white space nor `+`
    if not _ORIGIN.fullmatch(name):
        raise ValueError("letters, digits and `. _ - / :`, 100 at most, as example.com/audit")
    return name


def _backend(text: str) -> str:
    try:
        Backend.parse(text)
    except BackendError as err:
        raise ValueError(err.expected) from None
    return text


def _maybe_file(text: str) -> str:
    if text:
        _absolute(Path(text))
    return text


def _cgroups(text: str) -> str:
    for path in filter(None, text.split(":")):
        _absolute(Path(path))
    return text


Folder = Annotated[Path, AfterValidator(_absolute)]


class Settings(BaseModel):
    """Every setting, with unit, default and bounds; the variable is `WASMGATE_` and the name in capitals."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    home: Folder = Field(
        description="Folder of all state, made private when it is missing; the default is `wasmgate` in the"
        " data directory of the platform, `$XDG_DATA_HOME` or `~/.local/share`."
    )
    audit_dir: Folder = Field(description="Folder of the audit log; the default is `audit` in the home.")
    policies_dir: Folder = Field(
        description="Folder of the policies that the service knows by name, one YAML file each; the default"
        " is `policies` in the home."
    )
    audit_keys_dir: Folder = Field(
        description="Folder of the keys that sign the audit log and mask what is in it, outside the log; the"
        " default is `audit-keys` in the home."
    )
    audit_origin: Annotated[str, AfterValidator(_origin)] = Field(
        "wasmgate.local/audit",
        description="Name of the log in checkpoints and of its key, as `example.com/audit`; nobody else's log"
        " should have it.",
    )
    audit_query_s: int = Field(
        30, ge=1, le=3_600, description="Seconds that one question to the audit log may take."
    )
    audit_memory_bytes: int = Field(
        _GIB, ge=128 * _MIB, le=_TIB, description="Bytes of memory for questions to the audit log."
    )
    audit_disk_bytes: int = Field(
        0,
        ge=0,
        le=1 << 60,
        description="Bytes that the audit log may take on disk before the operator is told; 0 for no budget.",
    )
    audit_retain_min_days: int = Field(
        0, ge=0, le=36_500, description="Days that every record is kept at least, whatever its policy says."
    )
    audit_prune: Literal["off", "daily"] = Field(
        "off", description="Whether the service deletes once a day what no policy and no hold keeps."
    )
    audit_backend: Annotated[str, AfterValidator(_backend)] = Field(
        "embedded",
        repr=False,  # there may be a password in it
        description="Engine that answers questions to the audit log: `embedded`,"
        " `clickhouse://user:password@host:port/database` or `chdb:///path`, which answer from what"
        " `audit load` has loaded.",
    )
    host: Annotated[str, AfterValidator(_loopback)] = Field(
        "127.0.0.1", description="Loopback address that `serve` listens on."
    )
    port: int = Field(
        8765, ge=0, le=65_535, description="TCP port that `serve` listens on; 0 takes one that is free."
    )
    max_upload_bytes: int = Field(
        64 * _MIB, ge=_KIB, le=_GIB, description="Bytes of the largest module that the service takes."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="Least severity that the service writes to its own log; the audit log has no levels.",
    )
    cache_max_bytes: int = Field(
        2 * _GIB, ge=0, le=_TIB, description="Bytes of compiled modules that are kept on disk between runs."
    )
    max_concurrent_runs: int = Field(
        4, ge=1, le=256, description="Runs at the same time; further ones wait for their turn."
    )
    max_tenant_runs: int = Field(
        0,
        ge=0,
        le=256,
        description="Runs at the same time of one tenant; 0 for one fewer than of all, so that nobody has"
        " every turn.",
    )
    max_waiting_runs: int = Field(
        64, ge=1, le=1_024, description="Runs that wait for their turn; further ones are refused."
    )
    max_tenant_waiting_runs: int = Field(
        0, ge=0, le=1_024, description="Runs of one tenant that wait; 0 for half of all that may."
    )
    max_wait_s: int = Field(
        60, ge=1, le=86_400, description="Seconds that a run waits for its turn before it is given up."
    )
    max_compilers: int = Field(
        2, ge=1, le=64, description="Modules that are compiled at the same time; each may take 4 GiB."
    )
    http_secrets_dir: Folder = Field(
        description="Folder of the secrets that the host puts into requests of guests, one file each, named"
        " as in `secret://NAME`; the default is `secrets` in the home."
    )
    http_ca_file: Annotated[str, AfterValidator(_maybe_file)] = Field(
        "",
        description="File of CA certificates, as PEM, by which servers of requests are checked, in the place"
        " of those of the machine.",
    )
    spare_cells: int = Field(
        4,
        ge=0,
        le=64,
        description="Cells that `serve` keeps ready for modules that ran lately, so that they start faster.",
    )
    cgroup: Annotated[str, AfterValidator(_cgroups)] = Field(
        "",
        description="Folder of a cgroup that is delegated to the service and holds no process, as"
        " `/sys/fs/cgroup/wasmgate`: each cell gets one of its own in it. With cgroups of version 1 one"
        " folder for each controller, with colons between them.",
    )

    @property
    def cgroup_folders(self) -> tuple[Path, ...]:
        """Folders of the delegated cgroup; none without one."""
        return tuple(Path(path) for path in self.cgroup.split(":") if path)

    @property
    def cache_dir(self) -> Path:
        """Folder of compiled modules: native code, so it is private."""
        return self.home / "cache"

    @property
    def modules_dir(self) -> Path:
        """Folder of modules that were handed to the service."""
        return self.home / "modules"

    @property
    def documents_dir(self) -> Path:
        """Folder of policies that were handed to the service, by digest."""
        return self.home / "documents"

    @property
    def outputs_dir(self) -> Path:
        """Folder of what guests wrote to their standard streams."""
        return self.home / "exec"

    @property
    def exports_dir(self) -> Path:
        """Folder of exports of the audit log that wait to be fetched."""
        return self.home / "exports"

    @property
    def scratch_dir(self) -> Path:
        """Folder below which the `tmp://` directories of a run are made."""
        return self.home / "scratch"

    @property
    def api_keys_file(self) -> Path:
        """File with the hashes of the keys to the HTTP service."""
        return self.home / "key.json"

    @property
    def cursor_key_file(self) -> Path:
        """File with the key that signs cursors."""
        return self.home / "cursor.key"

    @property
    def own_dirs(self) -> tuple[Path, ...]:
        """Folders in which no guest may change anything: the evidence, and what later runs trust."""
        return (
            self.audit_dir,
            self.audit_keys_dir,
            self.policies_dir,
            self.http_secrets_dir,
            self.cache_dir,
            self.modules_dir,
            self.documents_dir,
            self.outputs_dir,
            self.exports_dir,
            self.home / "followers",
            self.scratch_dir,
        )


class SettingsError(Exception):
    """The environment does not make settings; carries every fault, each one a sentence."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        """Keep the sentences; values in them are inert and cut."""
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        """One line for each fault."""
        return "\n".join(self.faults)


def load_settings(
    environment: Mapping[str, str] | None = None, *, home: Path | None = None, audit_dir: Path | None = None
) -> Settings:
    """Read the settings; a folder that is given here comes before the environment's. Raises SettingsError.

    `environment` is that of the process when it is None.
    """
    variables = dict(os.environ) if environment is None else dict(environment)
    # SPEC: as with most programs, an empty variable is one that is not set
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in variables.items()
        if name.startswith(PREFIX) and value
    }
    faults = [_unknown(name) for name in variables if name.startswith(PREFIX) and not _is_known(name)]
    known = {name: value for name, value in given.items() if name in Settings.model_fields}
    root = str(home.absolute()) if home else known.get("home") or str(default_home(variables))
    folders = {
        "audit_dir": "audit",
        "audit_keys_dir": "audit-keys",
        "policies_dir": "policies",
        "http_secrets_dir": "secrets",
    }
    values = {name: f"{root}/{folder}" for name, folder in folders.items()} | known | {"home": root}
    if audit_dir:
        values["audit_dir"] = os.path.abspath(audit_dir)  # noqa: PTH100  # resolve() would follow links
    try:
        settings = Settings.model_validate_strings(values)
    except ValidationError as err:
        raise SettingsError((*faults, *_faults(err, known))) from None
    if faults:
        raise SettingsError(tuple(faults))
    return settings


def default_home(variables: Mapping[str, str]) -> Path:
    """The state's folder when nobody names one.

    SPEC: XDG base directories: a relative path in the variable is ignored.
    """
    named = variables.get("XDG_DATA_HOME", "")
    if named.startswith("/"):
        return Path(named) / "wasmgate"
    user = variables.get("HOME", "")
    return (Path(user) if user.startswith("/") else Path.home()) / ".local" / "share" / "wasmgate"


def is_export_wanted(environment: Mapping[str, str] | None = None) -> bool:
    """Say whether an `OTEL_` variable names a place for spans; the SDK reads it and all others itself."""
    variables = os.environ if environment is None else environment
    return any(variables.get(name, "").strip() for name in _ENDPOINTS)


def is_colour_refused(environment: Mapping[str, str] | None = None) -> bool:
    """Say whether the user wants no colours. SPEC: no-color.org, `NO_COLOR` with any value but none."""
    variables = os.environ if environment is None else environment
    return bool(variables.get("NO_COLOR")) or variables.get("TERM") == "dumb"


def _is_known(name: str) -> bool:
    # exact capitals: `WASMGATE_Port` is a slip as well
    return name.isupper() and name.removeprefix(PREFIX).lower() in Settings.model_fields


def _unknown(name: str) -> str:
    names = [PREFIX + field.upper() for field in Settings.model_fields]
    near = get_close_matches(name[:_SHOWN].upper(), names, n=1, cutoff=0.6)
    advice = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
    return f"{inert(name[:_SHOWN])}: unknown setting ({advice})"


def _faults(err: ValidationError, known: Mapping[str, str]) -> list[str]:
    found = {str(each["loc"][0]): _fault(each) for each in err.errors(include_url=False)}
    # a home that is wrong makes the folders in it wrong: one fault is enough
    return [fault for name, fault in found.items() if name in known or name == "home" or "home" not in found]


def _fault(error: ErrorDetails) -> str:
    name = str(error["loc"][0])
    expected = _expected(name, error)
    # SECURITY: a backend may hold a password
    found = "…" if name == "audit_backend" else inert(str(error["input"])[:_SHOWN])
    return f'{PREFIX}{name.upper()}: expected {expected}, found "{found}"'


def _expected(name: str, error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        return str(context["error"])
    if error["type"] == "literal_error":
        return f"one of {context['expected']}".replace("'", "")
    bounds = {type(each).__name__: each for each in Settings.model_fields[name].metadata}
    low, high = getattr(bounds.get("Ge"), "ge", None), getattr(bounds.get("Le"), "le", None)
    return f"a whole number from {low} to {high}" if low is not None else "text"

"""Every setting, in one table: each has a default, a unit and a line of its own, and an environment variable."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from hopper.model.identifiers import NAMESPACE_PATTERN

__all__ = ["Settings"]

Milliseconds = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]


def _default_data_dir() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "hopper"


class Settings(BaseSettings):
    """How a registry behaves. Immutable; `Settings()` reads `HOPPER_*` from the environment."""

    model_config = SettingsConfigDict(env_prefix="HOPPER_", frozen=True, extra="forbid", use_attribute_docstrings=True)

    redis_url: str | None = None
    """Redis to use: `redis://`, `rediss://` or `unix://`. Absent: the embedded Valkey."""
    namespace: Annotated[str, Field(pattern=NAMESPACE_PATTERN)] = "default"
    """The hierarchy to work on: `[a-z0-9][a-z0-9_-]{0,62}`; each has its own Global."""
    data_dir: Path = Field(default_factory=_default_data_dir)
    """Where the embedded Valkey keeps its files. Default: `hopper` under `XDG_DATA_HOME` or `~/.local/share`."""
    embedded_port: Port = 6390
    """Loopback port of the embedded Valkey; 0 picks a free one."""
    host: str = "127.0.0.1"
    """Address the API listens on; anything but loopback needs `--insecure`."""
    port: Port = 8080
    """Port the API listens on; 0 picks a free one."""

    log_format: Literal["text", "json"] = "text"
    """How the commands write their logs to standard error."""
    log_level: Literal["debug", "info", "warning", "error"] | None = None
    """Least severe event that is logged. Default: `info` for `serve`, `monitor` and `run`, else `warning`."""

    connect_timeout_s: Seconds = 2.0
    """Seconds a connection attempt to Redis may take."""
    command_timeout_s: Seconds = 2.0
    """Seconds Redis may take to answer a command before the connection is given up."""
    write_retries: Annotated[int, Field(ge=0)] = 2
    """Times a write is repeated, with the same request token, after a lost reply or connection."""
    conflict_retries: Annotated[int, Field(ge=1)] = 12
    """Times a write is tried when others keep changing the record it depends on."""
    read_wait_s: Seconds = 5.0
    """Seconds a read may wait for the revision it asked for."""
    require_live_parent: bool = False
    """Whether an instance may only be put under a parent that is alive, where a request does not say."""
    log_length: Annotated[int, Field(ge=100)] = 100_000
    """Events the log keeps, roughly: Redis trims whole nodes."""
    log_block_ms: Milliseconds = 500
    """Milliseconds a read of the log blocks before it looks whether the epoch is still the same."""
    log_silence_s: Seconds = 2.0
    """Seconds past its block after which a read of the log counts as hung and the connection is replaced."""

    ttl_ms: Annotated[int, Field(ge=1000, le=86_400_000)] = 15_000
    """Milliseconds a heartbeat lasts where a registration names none."""
    tick_ms: Milliseconds = 5
    """Milliseconds between two looks of the monitor at the deadlines that have passed."""
    probe_batch: Annotated[int, Field(ge=1, le=500)] = 500
    """Heartbeat keys read by one probe call at most."""
    probe_margin_ms: Annotated[int, Field(ge=0)] = 1
    """Milliseconds past its deadline at which a heartbeat is read."""
    recovery_ms: Milliseconds = 500
    """Milliseconds between two looks at an instance that is `suspect` or `down`."""
    pulse_ms: Milliseconds = 250
    """Milliseconds between two pulses of the leading monitor, and between two attempts of a standby."""
    pulse_slow_ms: Milliseconds = 500
    """Milliseconds of delay inside Redis from which a pulse is slow and starts a hold."""
    departure_quiet_ms: Milliseconds = 2000
    """Milliseconds without progress after which the leading monitor finishes a removal that another has begun."""
    lease_ms: Milliseconds = 2000
    """Milliseconds the leading monitor's lease lasts without a pulse; a standby takes over after that."""
    verdict_tolerance_ms: Milliseconds = 1000
    """Milliseconds Redis' clock may be off the expected time at a verdict, or a quarter of the TTL if less."""

    @field_validator("redis_url")
    @classmethod
    def _empty_is_absent(cls, value: str | None) -> str | None:
        return value or None

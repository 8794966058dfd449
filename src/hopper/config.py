"""Every setting, in one table: each has a default, a unit and a line of its own, and an environment variable."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from hopper.model.identifiers import NAMESPACE_PATTERN
from hopper.model.policy import Threshold
from hopper.model.thresholds import flaw_of
from hopper.model.webhook import RULE, is_pattern, target_of

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

    sample_s: Seconds = 5.0
    """Seconds between two looks of the leading monitor at the metrics of instances that have thresholds."""
    sample_count: Annotated[int, Field(ge=1)] = 2
    """Samples in a row that are needed to enter a worse level of health, and to leave it."""
    thresholds: dict[str, Threshold] = Field(default_factory=dict)
    """Thresholds of every instance whose record has none for that metric, as a JSON object."""
    strays_s: Seconds = 60.0
    """Seconds in which the leading monitor sees every heartbeat once, to find those of nobody or of a former run."""
    checks_at_once: Annotated[int, Field(ge=1)] = 64
    """Active checks under way at the same time."""
    flap_count: Annotated[int, Field(ge=2)] = 3
    """Recoveries from `down` within `flap_window_s` from which an instance is flapping."""
    flap_window_s: Seconds = 300.0
    """Seconds in which these count, and which must be quiet before it is flapping no more."""

    guard_share: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Share of a group above which lapses within one TTL are taken for a common cause; 1 is never."""
    guard_minimum: Annotated[int, Field(ge=1)] = 20
    """Instances a group must have to be guarded."""
    guard_settle_s: Seconds = 1.0
    """Seconds after a lapse before which nothing is restarted, reaped or alerted, so that the guard can know."""
    guard_ttls: Annotated[float, Field(gt=0)] = 5.0
    """TTLs, the largest of those that lapsed together, after which a guard is released whatever has recovered."""
    max_failed_children: Annotated[int, Field(ge=0)] = 5
    """Children of a Project that may exhaust their restarts before it is `unhealthy`, where its policy does not say."""
    executor_lease_s: Seconds = 10.0
    """Seconds for which whoever carries out a restart keeps others from it without a sign of life."""
    restart_wait_s: Seconds = 120.0
    """Seconds in which an instance must register once its webhook or callback was asked; else that restart failed."""

    alert_webhook: str | None = None
    """Where `down`, `failed`, guards and holds are told by POST; absent: nowhere."""
    webhook_secret: str | None = None
    """Key of the HMAC-SHA256 with which every webhook is signed; absent: unsigned."""
    webhook_allow: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts that restart webhooks may name: `HOST`, `HOST:PORT` or `*.DOMAIN`, separated by commas; empty: none."""
    webhook_timeout_s: Seconds = 5.0
    """Seconds one attempt to deliver a webhook may take."""
    webhook_retries: Annotated[int, Field(ge=0)] = 4
    """Times a webhook is sent again after a failure."""

    @field_validator("webhook_allow", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value

    @field_validator("webhook_allow")
    @classmethod
    def _can_allow(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if not is_pattern(pattern):
                raise ValueError(
                    f"{pattern!r} allows no host: write HOST, HOST:PORT or *.DOMAIN, without a scheme or path"
                )
        return value

    @field_validator("thresholds")
    @classmethod
    def _meant(cls, value: dict[str, Threshold]) -> dict[str, Threshold]:
        for metric, threshold in value.items():
            flaw = flaw_of(metric, threshold)
            if flaw is not None:
                raise ValueError(f"{metric}: {flaw}")
        return value

    @field_validator("alert_webhook")
    @classmethod
    def _can_be_called(cls, value: str | None) -> str | None:
        if value and target_of(value) is None:
            raise ValueError(f"a webhook is {RULE}")
        return value

    @field_validator("redis_url", "alert_webhook", "webhook_secret")
    @classmethod
    def _empty_is_absent(cls, value: str | None) -> str | None:
        return value or None

"""What a worker may be told through ``UNMASK_*`` variables, with the defaults that are right for most."""

import base64
import os
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FilePath,
    HttpUrl,
    IPvAnyNetwork,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)

from db.settings import DatabaseSettings, Environment
from worker.core.hostnames import parse_host

#: How long a secret may be.
_SECRET_BYTES = range(24, 65)


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _hosts(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        parse_host(name)
    return names


class BrokerSettings(Environment):
    """Where the messages go. An upload flow needs no more than this to enqueue."""

    broker_url: str = Field(default="redis://127.0.0.1:6379/0", repr=False)  # it may hold a password
    #: After so long without a score an image is sent again.
    resend_s: PositiveFloat = 60.0
    #: Longer than an image may be in hand; past it Redis hands a message of `worker.ingest_image` to somebody else as
    #: well (of all others the row is sent again). The same for all.
    visibility_timeout_s: PositiveFloat = 600.0


class FetchSettings(Environment):
    """Where photos may come from, and how much of a worker's time and memory one may take."""

    #: Photos by path come from below this folder, and from nowhere when it is not set.
    media_root: Path | None = None
    #: Photos by URL come from these hosts ("cdn.example.com,img.example.com:8443"), and from nowhere when none is set.
    allowed_hosts: Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_hosts)] = ()
    #: By http as well as by https; a host without a port then stands for 80 too.
    allow_http: bool = False
    #: Networks of our own that allowed hosts may lie in ("10.1.0.0/16"); any other address must be a public one.
    allow_private_addresses: Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(_split)] = ()
    #: A file of certificate authorities to trust in place of the public ones.
    ca_bundle: FilePath | None = None
    #: For the whole download, from connecting to the last byte.
    fetch_timeout_s: PositiveFloat = 15.0


class ModelSettings(Environment):
    """Which file scores, and on what."""

    #: Registered checkpoints, as ``<sha256>.safetensors``.
    models_dir: Path = Path("models")
    #: "auto": CUDA where there is one, else the CPU.
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    #: "auto": OpenVINO on a CPU where it is installed (half the work of PyTorch's), else PyTorch ("eager").
    engine: Literal["auto", "eager", "openvino"] = "auto"


class IsolationSettings(Environment):
    """What decoding one picture may take that is suspected of having killed a worker."""

    #: By the wall's clock and the processor's; and of address space, of which a bare decoder takes 200 MB.
    decoder_timeout_s: PositiveFloat = 30.0
    decoder_memory_mb: PositiveInt = 2048


class HealthSettings(Environment):
    """Where a worker says how it is, and after how long a silence it counts as hung."""

    run_dir: Path = Field(default_factory=lambda: Path(tempfile.gettempdir()) / f"unmask-{os.getuid()}")
    #: A broker that hangs may hold up the loop for its socket's 30 s, twice in a row.
    live_s: PositiveFloat = 90.0


class MetricsSettings(Environment):
    """Where this process answers Prometheus."""

    #: Nowhere unless set. Each process of a machine needs a port of its own; one that is taken is logged.
    metrics_port: int | None = Field(default=None, ge=1, le=65_535)
    #: Whoever reaches it may read it: in a container that is 0.0.0.0, behind a network policy.
    metrics_host: str = "127.0.0.1"


class LogSettings(Environment):
    """What the log looks like, and how much is in it."""

    #: "auto": for people on a terminal, else JSON, a line an event.
    log_format: Literal["auto", "json", "text"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    #: So many scored images a second have a line; it says how many before it have none. What fails always has one.
    log_images_per_s: NonNegativeInt = 10


def _secret(value: str) -> str:
    """Raises ValueError, which does not show it."""
    try:
        size = len(base64.b64decode(value.removeprefix("whsec_"), validate=True))
    except ValueError:
        size = 0
    if size not in _SECRET_BYTES:
        raise ValueError("not whsec_ and the base64 of 24 to 64 random bytes, such as: openssl rand -base64 32")
    return value


class WebhookSettings(Environment):
    """Where the platform is told what becomes of cases; nowhere when not set."""

    #: Signs what it is told, as https://www.standardwebhooks.com describes.
    webhook_secret: Annotated[str, AfterValidator(_secret)] | None = Field(default=None, repr=False)
    webhook_url: HttpUrl | None = Field(default=None, repr=False)  # it may hold a key
    #: For an answer, and how often it is tried: with pauses that grow from seconds to half a day.
    webhook_timeout_s: PositiveFloat = 10.0
    webhook_max_attempts: PositiveInt = 10

    @field_validator("webhook_url")
    @classmethod
    def _signed(cls, value: HttpUrl | None, info: ValidationInfo) -> HttpUrl | None:
        if value is not None and info.data.get("webhook_secret") is None:
            raise ValueError("needs UNMASK_WEBHOOK_SECRET")
        return value


class WorkerSettings(
    DatabaseSettings,
    BrokerSettings,
    FetchSettings,
    ModelSettings,
    IsolationSettings,
    HealthSettings,
    MetricsSettings,
    LogSettings,
    WebhookSettings,
):
    """Everything that a worker reads at its start."""

    #: Messages in hand at once.
    concurrency: PositiveInt = 32
    #: Images in one forward pass, and how long the first waits for others that are on their way.
    max_batch: PositiveInt = 16
    max_wait_s: float = Field(default=0.05, ge=0)
    #: Photos with a shorter side are not scorable; by default what the active model's card was tried on. 0: no limit.
    min_side: NonNegativeInt | None = None
    #: How long an image may be in a worker's hands before another takes it; while it waits there for its turn, longer.
    lease_s: PositiveFloat = 300.0
    #: How often it looks which model versions are to score, and whether scoring is paused.
    follow_s: PositiveFloat = 1.0
    #: How often an image is tried before it is given up, and the first pause between tries (doubled each time).
    max_attempts: PositiveInt = 5
    retry_s: PositiveFloat = 10.0
    #: For so long after it came in, what may pass by itself (a timeout, a server that is down) is tried again anyway.
    retry_deadline_s: PositiveFloat = 6 * 3600.0
    #: How many workers may be lost with an image in hand before it is given up, at that deadline or later; its own
    #: tries are counted apart.
    max_losses: PositiveInt = 20
    #: A batch that takes longer hangs, and the worker ends.
    batch_timeout_s: PositiveFloat = 120.0
    #: How long a worker that was told to stop may take to finish what it has in hand.
    stop_s: PositiveFloat = 30.0
    #: How often the sweeper looks for images that nobody sent, how many it sends at once, and how many messages may
    #: wait in the queue before it stops adding to them.
    sweep_s: PositiveFloat = 1.0
    sweep_limit: PositiveInt = 1000
    queue_limit: PositiveInt = 10_000
    #: The longest wait before an image is sent yet again; and how long a leading sweeper may be silent.
    resend_max_s: PositiveFloat = 600.0
    leader_s: PositiveFloat = 10.0

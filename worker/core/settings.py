"""The worker's settings: ``UNMASK_*`` environment variables, with defaults that are right for most installations."""

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
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)

from db.schema import EVENT_KINDS
from db.settings import DatabaseSettings, Environment, PhotoSourceSettings, split_commas
from worker.core.broker_urls import check_broker_url

#: Bytes of a webhook secret.
_SECRET_BYTES = range(24, 65)


class BrokerSettings(Environment):
    """The broker, which only workers need: an upload flow writes rows."""

    broker_url: Annotated[str, AfterValidator(check_broker_url)] = Field(default="redis://127.0.0.1:6379/0", repr=False)
    #: An image without a score is sent again after this time.
    resend_s: PositiveFloat = 60.0
    #: Must be longer than any image takes: past it Redis delivers a message of `worker.ingest_image` to another worker
    #: as well (for all other messages the row is sent again). Must be the same in all processes.
    visibility_timeout_s: PositiveFloat = 600.0


class FetchSettings(PhotoSourceSettings):
    """How photos are fetched, and how long fetching one may take."""

    #: Private networks that allowed hosts may lie in ("10.1.0.0/16"); any other address must be public.
    allow_private_addresses: Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(split_commas)] = ()
    #: A file of certificate authorities to trust instead of the public ones.
    ca_bundle: FilePath | None = None
    #: For the whole download, from connecting to the last byte.
    fetch_timeout_s: PositiveFloat = 15.0


class ModelSettings(Environment):
    """Where checkpoints lie, and the device and engine that run them."""

    #: Registered checkpoints, as ``<sha256>.safetensors``.
    models_dir: Path = Path("models")
    #: Weights of backbones that you bring for checkpoints without one, as ``<sha256>.safetensors``.
    backbones_dir: Path = Path("backbones")
    #: What embeds photos in `unmask train` and `unmask evaluate`. "auto": on a CPU OpenVINO where it is installed (half
    #: of PyTorch's work), else PyTorch ("torch"). Each has its own embeddings in the cache.
    embedding_engine: Literal["auto", "torch", "openvino"] = "auto"
    #: "auto": CUDA where there is one, else the CPU.
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    #: "auto": CUDA graphs on a GPU ("graph"); on a CPU OpenVINO where it is installed (half of PyTorch's work), else
    #: PyTorch ("eager").
    engine: Literal["auto", "eager", "openvino", "graph"] = "auto"
    #: How long the first start with a model on a GPU may measure precisions and batch sizes; it keeps what it found in
    #: ``gpu-plans`` in UNMASK_MODELS_DIR.
    tuning_s: PositiveFloat = 120.0
    #: Photos with a shorter side are unusable; the default is the smallest side that the active model's card was
    #: tested on. 0: no limit.
    min_side: NonNegativeInt | None = None


class SandboxSettings(Environment):
    """Limits of the sandbox that decodes a picture suspected of having killed a worker."""

    #: By the wall clock and in processor time; and address space, of which an idle decoder takes 200 MB.
    decoder_timeout_s: PositiveFloat = 30.0
    decoder_memory_mb: PositiveInt = 2048


def _certificates(path: Path) -> Path:
    """Check a file of certificates; raises a ValueError that says what is wrong."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as text: {type(error).__name__}") from error
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise ValueError(f"{path} has no certificate in PEM")
    return path


class ProvenanceSettings(Environment):
    """What workers read of the metadata of photos' files: who made a picture, and with what. See `unmask inspect`."""

    #: "off": workers read no metadata, and policies cannot act on it.
    provenance: Literal["on", "off"] = "on"
    #: Certificates, in PEM, of whose holders the signatures of C2PA manifests are trusted; without it none are. Nothing
    #: is fetched: neither a trust list, nor a manifest by its URL.
    provenance_trust_list: Annotated[FilePath, AfterValidator(_certificates)] | None = None
    #: Limits of the sandbox that reads the metadata of one photo: by the wall clock and in processor time, and address
    #: space. A photo over a limit is scored all the same, and has a signal that says so.
    provenance_timeout_s: PositiveFloat = 5.0
    provenance_memory_mb: PositiveInt = 1024


class ProjectionSettings(Environment):
    """Of which photos workers keep what `unmask model novelty` reads, 64 bytes each: see `db.models.projections`."""

    #: Of photos whose score at most this share of the reference's real photos reach, and of flagged ones. If this and
    #: the next are 0, workers keep nothing.
    projection_share: float = Field(default=0.05, ge=0, le=1)
    #: Of this share of all others, at random.
    projection_sample: float = Field(default=0.002, ge=0, le=1)


class HealthSettings(Environment):
    """Where a worker writes its health file, and after how long a silence it counts as hung."""

    run_dir: Path = Field(default_factory=lambda: Path(tempfile.gettempdir()) / f"unmask-{os.getuid()}")
    #: A hanging broker may hold up the consumer's loop for its socket's timeout of 30 s, twice in a row.
    live_s: PositiveFloat = 90.0


class MetricsSettings(Environment):
    """Where this process serves its metrics to Prometheus."""

    #: Off unless set. Each process of a machine needs a port of its own; a port in use is logged.
    metrics_port: int | None = Field(default=None, ge=1, le=65_535)
    #: Anyone who reaches this address may read the metrics; in a container use 0.0.0.0 behind a network policy.
    metrics_host: str = "127.0.0.1"


class LogSettings(Environment):
    """The format of the log, and how much is in it."""

    #: "auto": text on a terminal, else one JSON line per event.
    log_format: Literal["auto", "json", "text"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    #: Scored images with a log line, per second; the line counts those before it that have none. Failures, and
    #: photos with notes (no end, trailing bytes), always have one.
    log_images_per_s: NonNegativeInt = 10


def _secret(value: str) -> str:
    """Check a webhook secret; raises a ValueError that does not show it."""
    try:
        size = len(base64.b64decode(value.removeprefix("whsec_"), validate=True))
    except ValueError:
        size = 0
    if size not in _SECRET_BYTES:
        raise ValueError("must be whsec_ and the base64 of 24 to 64 random bytes (openssl rand -base64 32)")
    return value


def _kinds(names: tuple[str, ...]) -> tuple[str, ...]:
    """Check the kinds of events; raises a ValueError that lists them all."""
    unknown = [name for name in names if name not in EVENT_KINDS]
    if unknown or not names:
        raise ValueError(
            f"{', '.join(unknown) or 'nothing'} is not a kind of event: choose from {', '.join(EVENT_KINDS)}"
        )
    return names


class WebhookSettings(Environment):
    """Where webhooks go, and what they tell of; off unless a URL is set. See `deploy/EVENTS.md`."""

    #: Signs each webhook, as https://www.standardwebhooks.com describes.
    webhook_secret: Annotated[str, AfterValidator(_secret)] | None = Field(default=None, repr=False)
    webhook_url: HttpUrl | None = Field(default=None, repr=False)  # it may hold a key
    #: How long to wait for an answer; and how many attempts, with pauses that grow from seconds to half a day.
    webhook_timeout_s: PositiveFloat = 10.0
    webhook_max_attempts: PositiveInt = 10
    #: The kinds of events to send ("case.opened,image.scored,image.failed"); the worker that starts last decides.
    webhook_events: Annotated[tuple[str, ...], BeforeValidator(split_commas), AfterValidator(_kinds)] = tuple(
        kind for kind in EVENT_KINDS if kind.startswith("case.")
    )

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
    SandboxSettings,
    ProvenanceSettings,
    ProjectionSettings,
    HealthSettings,
    MetricsSettings,
    LogSettings,
    WebhookSettings,
):
    """All settings that a worker reads at its start."""

    #: Messages processed at once.
    concurrency: PositiveInt = 32
    #: Images in one forward pass, and how long the first of them waits for others on their way.
    max_batch: PositiveInt = 16
    max_wait_s: float = Field(default=0.05, ge=0)
    #: How long a worker holds an image before another takes it over; the lease is renewed while the image waits there.
    lease_s: PositiveFloat = 300.0
    #: How often a worker checks which model versions score, and whether scoring is paused.
    follow_s: PositiveFloat = 1.0
    #: Where workers keep the networks that OpenVINO made of checkpoints, so that later starts take half of the work;
    #: nowhere by default. Whoever writes there can change scores: give workers a folder that nobody else may write.
    networks_dir: Path | None = None
    #: Attempts before an image is given up, and the first pause between attempts (doubled each time).
    max_attempts: PositiveInt = 5
    retry_s: PositiveFloat = 10.0
    #: For this long after an image came in, failures that may pass by themselves (a timeout, a server that is down) are
    #: retried however many attempts were made.
    retry_deadline_s: PositiveFloat = 6 * 3600.0
    #: For this long after an image came in, and no longer than that deadline, a photo that its host does not have yet
    #: (404, 202, 423, 425) is tried again.
    upload_grace_s: NonNegativeFloat = 600.0
    #: Workers that may be lost while they hold an image before it is given up, at that deadline or later; its own
    #: attempts are counted separately.
    max_losses: PositiveInt = 20
    #: A batch that takes longer counts as hung, and the worker ends.
    batch_timeout_s: PositiveFloat = 120.0
    #: How long a stopping worker may take to finish the images that it holds.
    stop_s: PositiveFloat = 30.0
    #: How often the relay looks for images to send, how many it sends at once, and how many messages may wait in the
    #: queue before it stops adding to them.
    sweep_s: PositiveFloat = 1.0
    sweep_limit: PositiveInt = 1000
    queue_limit: PositiveInt = 10_000
    #: The longest wait before an image is sent again; and how long the leading relay may be silent.
    resend_max_s: PositiveFloat = 600.0
    leader_s: PositiveFloat = 10.0

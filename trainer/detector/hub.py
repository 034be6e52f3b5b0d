"""ImageNet weights from timm's hub: a safetensors file, and never one of the pickles that lie beside some.

Left to itself timm falls back to a ``.bin``, which is a pickle, and the hub's client asks a network that is not there
for most of a minute.
"""

from pathlib import Path

from trainer.errors import WeightsError
from trainer.detector.header import HeaderError, read_header

_FILE = "model.safetensors"
#: To hear from the hub at all; the download itself may take its time.
_TIMEOUT_S = 5.0


def hub_file(name: str) -> Path:
    """A network's weights as a local file, downloaded when they are not yet; raises `WeightsError` saying why not."""
    repository, revision = _repository(name)
    try:
        path = _local(repository, revision) or _download(repository, revision)
        read_header(path)
    except HeaderError as error:
        raise WeightsError(f"weights of {name!r} from the hub: {_FILE} {error}") from error
    except Exception as error:  # every way in which a download can fail, from DNS to disk
        raise WeightsError(f"{type(error).__name__}") from error
    return path


def _repository(name: str) -> tuple[str, str | None]:
    import timm

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise WeightsError(f"timm's hub has no weights for {name!r}")
    repository, _, revision = config.hf_hub_id.partition("@")
    return repository, revision or None


def _local(repository: str, revision: str | None) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, _FILE, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _download(repository: str, revision: str | None) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    # Asked once: what follows would ask a dead network five times, with growing pauses.
    get_hf_file_metadata(hf_hub_url(repository, _FILE, revision=revision), timeout=_TIMEOUT_S)
    return Path(hf_hub_download(repository, _FILE, revision=revision))

"""What photos' files say of their origin, read in a sandbox of its own: a suspect's decode does not hold it up.

A photo whose metadata cannot be read is scored like any other: reading never fails, and never takes longer than twice
its time limit.
"""

from collections.abc import Sequence

from db.file_signals import UNREAD, FileSignal
from worker.core.errors import DecoderError
from worker.core.settings import ProvenanceSettings, SandboxSettings
from worker.photos.sandbox import Sandbox
from worker.provenance.container import may_have_metadata


class SignalReader:
    """Reads the signals of files; safe to share between threads."""

    def __init__(self, settings: ProvenanceSettings) -> None:
        self._on = settings.provenance == "on"
        limits = SandboxSettings(
            decoder_timeout_s=settings.provenance_timeout_s, decoder_memory_mb=settings.provenance_memory_mb
        )
        self._sandbox = Sandbox(limits, settings.provenance_trust_list, wait_s=settings.provenance_timeout_s)

    def read(self, data: bytes) -> Sequence[FileSignal]:
        """The signals of a file; for one whose metadata was not read, a signal that says why."""
        if not self._on or not may_have_metadata(data):
            return []
        try:
            return self._sandbox.signals(data)
        except DecoderError as error:
            return [FileSignal.of(UNREAD, error.detail, error.reason)]

    def close(self) -> None:
        """End the sandbox."""
        self._sandbox.close()

"""Metadata is read in a child of its own, within limits; a photo whose metadata cannot be read goes on all the same."""

import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.errors import SettingsError
from db.file_signals import AI, UNREAD
from tests.unit.worker.provenance.files import CREATED, authority, picture, png_with
from worker.core.settings import ProvenanceSettings
from worker.photos.file_signals import SignalReader

TRACE = png_with((b"tEXt", b"Software\0NovelAI"))
SLEEPS = """
    import worker.provenance.reader as reader
    read = reader.read_signals

    def read_signals(data, anchors):
        while data.endswith(b"compute!"):
            pass
        if data.endswith(b"hoard it"):
            bytearray(8 * 1024**3)
        return read(data, anchors)

    reader.read_signals = read_signals
"""


@pytest.fixture
def reader() -> Iterator[SignalReader]:
    reader = SignalReader(ProvenanceSettings())
    yield reader
    reader.close()


@pytest.fixture
def obedient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SignalReader]:
    """A reader whose child does what a file orders."""
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(SLEEPS))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[4]}")
    reader = SignalReader(ProvenanceSettings(provenance_timeout_s=3))
    yield reader
    reader.close()


def test_a_child_reads_and_its_trust_list_is_a_setting(tmp_path: Path) -> None:
    signed = authority().sign(picture("JPEG"), "image/jpeg", [CREATED])
    listed = tmp_path / "trusted.pem"
    listed.write_text(authority().anchors)
    for trust_list, trust in ((listed, "valid"), (None, "untrusted")):
        reader = SignalReader(ProvenanceSettings(provenance_trust_list=trust_list))
        try:
            assert {one.trust for one in reader.read(signed)} == {trust}
        finally:
            reader.close()


def test_a_trust_list_without_certificates_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "list.pem").write_text("no certificate")
    with pytest.raises(SettingsError, match=r"UNMASK_PROVENANCE_TRUST_LIST: .*list.pem has no certificate in PEM"):
        ProvenanceSettings.load({"UNMASK_PROVENANCE_TRUST_LIST": str(tmp_path / "list.pem")})


def test_a_file_without_metadata_starts_no_child(reader: SignalReader) -> None:
    assert reader.read(picture("JPEG")) == []
    assert reader._sandbox._child is None  # noqa: SLF001 - a child would cost 60 MB


def test_workers_can_be_told_to_read_nothing() -> None:
    assert SignalReader(ProvenanceSettings(provenance="off")).read(TRACE) == []


@pytest.mark.slow
def test_a_file_that_takes_too_long_or_too_much_memory_is_a_signal_and_the_next_is_read(obedient: SignalReader) -> None:
    (late,) = obedient.read(TRACE + b"compute!")
    assert (late.kind, late.where) == (UNREAD, "decoder_timeout")
    (large,) = obedient.read(TRACE + b"hoard it")
    assert (large.kind, large.where) == (UNREAD, "decoder_memory")
    assert [one.kind for one in obedient.read(TRACE)] == [AI]


@pytest.mark.slow
def test_nobody_waits_behind_a_slow_file_for_longer_than_the_limit(obedient: SignalReader) -> None:
    slow = [threading.Thread(target=obedient.read, args=[TRACE + b"compute!"]) for _ in range(4)]
    for thread in slow:
        thread.start()
    (busy,) = obedient.read(TRACE)
    assert busy.kind in (UNREAD, AI)
    for thread in slow:
        thread.join(timeout=15)
        assert not thread.is_alive()

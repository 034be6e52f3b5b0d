"""``make demo`` as a newcomer runs it, in a folder of their own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PATIENCE_S = 180
DEMO = [sys.executable, "-m", "worker.demo"]


def environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("UNMASK_")}
    return kept | {"PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}


def test_the_demo_scores_its_photos_and_calls_no_real_person_ai_generated(tmp_path: Path) -> None:
    done = subprocess.run(DEMO, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^3 scored, \d unusable, \d failed; 0 accounts flagged\.$", done.stdout, re.MULTILINE)
    assert "truncated" in done.stdout
    assert "not_an_image" in done.stdout
    assert re.search(r"unmask threshold preview --value 0\.\d+\n.*FPR", done.stdout, re.MULTILINE)


def test_with_serve_the_printed_curl_line_gets_a_verdict(photo: Path, tmp_path: Path) -> None:
    shutil.copy(photo, tmp_path / "photo.jpg")
    said = tmp_path / "said"
    with said.open("wb") as file:
        running = subprocess.Popen([*DEMO, "--serve"], cwd=tmp_path, env=environment(), stdout=file, stderr=file)
    try:
        line = _curl_line(said)
        shell = ["bash", "-c", line.replace("curl ", "curl --silent --retry 9 --retry-connrefused ", 1)]
        answer = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert '"state":"scored"' in answer.stdout, answer.stdout + answer.stderr
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=90) == 0, said.read_text()[-2000:]
    finally:
        running.kill()
        running.wait()


def _curl_line(said: Path) -> str:
    """The last one, once the HTTP API runs."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        _, opened, rest = said.read_text().partition("The HTTP API runs")
        if opened and rest.endswith("/v1/images\n"):
            return rest[rest.index("curl") :]
        time.sleep(0.2)
    raise AssertionError(said.read_text()[-2000:])

"""What hangs is told from what was only stopped: SIGSTOP, a paused container, a suspended machine."""

import signal
import subprocess
import sys
import time

import pytest

#: Starts one piece of work of half a second of processor time that may take one second, and says whether it hung.
SCRIPT = """
import sys, threading, time
import worker.pipeline.bounded_decoder as bounded
from worker.inference.watchdog import WatchedScorer

def work(*_):
    end = time.thread_time() + 0.5
    while time.thread_time() < end:
        pass

class Device:
    in_flight = 1
    device = "cpu"
    read = work

bounded.decode = work
broken = []
decoder = bounded.BoundedDecoder(1, 1.0)
piece = {"batch": WatchedScorer(Device(), 1.0, broken.append).read, "decode": decoder.decode}[sys.argv[1]]
thread = threading.Thread(target=piece, args=[b"."])
thread.start()
print("begun", flush=True)
while thread.is_alive():
    broken += ["decode"] * decoder.hangs()
    time.sleep(0.01)
print(broken)
"""


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["batch", "decode"])
def test_a_stopped_process_finds_nothing_hanging_when_it_goes_on(piece: str) -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT, piece], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        assert process.stdout.read() == "[]\n"

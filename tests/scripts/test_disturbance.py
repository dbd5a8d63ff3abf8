"""What other processes take of the CPU is counted, and told."""

import os
import subprocess
import sys
import time

import pytest
from bench.disturbance import OthersWatch, Ticks, describe_share, vector_bits


def test_the_others_share_is_what_is_busy_and_not_ours() -> None:
    # 8 cores for 10 s: 30 s of them busy, 12 with our own work.
    counts = iter([Ticks(100, 40, 5), Ticks(180, 70, 17)])
    assert OthersWatch(lambda: next(counts)).share() == pytest.approx((30 - 12) / 80)


def test_a_system_that_does_not_tell_is_not_called_undisturbed() -> None:
    share = OthersWatch(lambda: None).share()
    assert share is None
    assert "not known" in describe_share(share)


@pytest.mark.skipif(sys.platform != "linux", reason="the counts come from /proc")
def test_another_process_is_seen() -> None:
    watch = OthersWatch()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        time.sleep(0.7)
        # Before it is waited for: its time counts as ours from then on.
        share = watch.share()
        other.kill()
    # It takes one core, and has a while to start; on a busy machine others take the rest.
    assert share is not None
    assert share > 0.3 / (os.cpu_count() or 1)


@pytest.mark.parametrize(("share", "word"), [(0.02, "undisturbed"), (0.11, "DISTURBED")])
def test_above_a_tenth_a_measurement_is_disturbed(share: float, word: str) -> None:
    assert word in describe_share(share)


def test_the_width_of_vectors_is_a_power_of_two() -> None:
    assert vector_bits() in (None, 128, 256, 512)

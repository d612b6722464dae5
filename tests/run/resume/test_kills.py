"""Runs killed at every point of the program, and at random times, end with the same bytes as runs that never stopped.

`make kills` does the same at more calls of each function and a thousand random times.
"""

import commands


def test_no_kill_changes_a_byte() -> None:
    done = commands.Command("--points", "1", "--kills", "6", program="killing:main").wait(1500)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("0 bytes differ") == 2

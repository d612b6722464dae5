"""A process that looks after a queue, for tests that kill it: `python web_server.py STATE RUNS`."""

import sys
import time
from pathlib import Path

from tetrad.web.jobs import Queue, Supervisor

if __name__ == "__main__":
    Supervisor(Queue(Path(sys.argv[1])), [Path(sys.argv[2])], look_seconds=0.05).start()
    time.sleep(600)

"""A queue of commands that run in processes of their own and outlive the server.

`queue` keeps what people want: which commands, in which order, and which are held back. `process` is what a job's own
process writes into the job's folder, and `child` is that process. `job` derives the state of a job from these files;
it is never stored. `lanes` says which devices are busy, also with runs that were started from a terminal, and
`supervisor` starts the next job of a free device.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "job": ["Job", "JobState"],
        "lanes": ["AUTO", "list_busy_devices", "overlap", "read_device"],
        "process": ["EVENTS"],
        "queue": ["Queue"],
        "supervisor": ["Supervisor"],
    },
)

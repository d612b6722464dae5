"""One run on several processes: process 0 is the run, and the others compute gradients for it.

`world` says which process this is, `team` starts the others and leads them, and `follower` is what they run. `share` is
what each has of an update, and `speed` measures whether they make the run faster.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "follower": ["follow_leader"],
        "share": ["check_share", "process_notes"],
        "speed": ["check_speed"],
        "team": ["Team", "start_team"],
        "world": ["World", "read_world", "refuse_several_processes"],
    },
)

"""Resume points, and going on from them exactly after a crash, a stop or a power cut.

`resume` goes on with a run, from the `resumption` that its folder gives. `points` writes and reads resume points,
`interval` decides when one is due, and `keeper` saves them during a run. `start` is what a run writes down before
anything else, and `identity` is everything that decides its result.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "identity": ["describe_identity"],
        "keeper": ["PointKeeper"],
        "points": [
            "FOLDER",
            "KEPT_POINTS",
            "ResumePoint",
            "is_unfinished_point",
            "list_points",
            "read_newest_point",
            "read_step",
            "refuse_not_finite",
        ],
        "resume": ["resume"],
        "resumption": ["Resumption", "check_identity", "record_identity", "restoring", "take_point"],
        "start": ["START_FILE", "read_working_folder", "write_start"],
    },
)

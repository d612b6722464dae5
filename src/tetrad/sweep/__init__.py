"""Many runs of one recipe with other values: a grid of normal run folders in one folder.

`grid` is what is varied, `attempt` trains one run in a process of its own, or goes on with it, `local` and `on_ray` say
where, `sweep` trains all of them and stops weak ones, and `results` are the table and the sheet that it writes.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "attempt": ["Attempt"],
        "grid": ["Cell", "make_grid"],
        "local": ["Local"],
        "on_ray": ["OnRay"],
        "results": ["FILE", "SHEET", "Row", "describe_change", "read_rows", "write_results", "write_sheet"],
        "sweep": ["Place", "Sweep"],
    },
)

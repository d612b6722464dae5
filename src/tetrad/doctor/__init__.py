"""Checks of this computer and this installation, for `tetrad doctor`.

- `report`: what a check found, and all of them together
- `software`: Python, PyTorch and the other packages
- `hardware`: device, one real computation on it, memory
- `storage`: free space, writing safely on the disk of the results, the models that are found
- `examine`: all checks in order
- `temporary_folder`: where checks write, which is removed also after a kill
- `full_check`: train, stop, kill, resume, and compare with a run that was never stopped
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "examine": ["examine"],
        "full_check": ["check_resuming", "find_differences", "read_results"],
        "report": ["Check", "DoctorReport"],
    },
)

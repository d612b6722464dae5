"""Copy trained files and models into the folders of a web UI, and remove them from there again.

`web_uis` recognizes A1111, Forge and ComfyUI by their folders and knows where each type of file goes. `copies` copies a
file with what goes beside it. `install` chooses all of that for a file; `receipts` are the notes that it leaves in the
web UI's folder, by which `uninstall` knows what it may remove. `names` has the rules for names of files.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "copies": ["Copy"],
        "install": ["Installed"],
        "names": ["check_name", "choose_free_name", "make_safe_stem"],
        "receipts": ["Receipt", "add_receipts", "read_receipts"],
        "uninstall": ["Uninstalled"],
        "web_uis": ["Destination", "list_folders", "recognize", "require_web_ui"],
    },
)

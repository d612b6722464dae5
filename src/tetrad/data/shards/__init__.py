"""Images in tar shards, read where they are: nothing is unpacked.

- `tar_index`: where each file of a shard begins, and where a shard is damaged
- `member_path`: the path of a file in a shard, which is opened like any other
- `list_shards`: the images of many shards with their captions

Python's tarfile reads the headers, and files are read at their offsets. The package webdataset streams shards from the
beginning and shuffles what is in a buffer, so that the order depends on the number of processes and a run cannot be
resumed at an image. With offsets, any image can be read at any time, and the order stays that of `Batches`.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "list_shards": ["estimate_shards", "find_shards", "list_shards"],
        "member_path": ["MemberPath", "get_shown_name", "is_any_file", "open_file"],
    },
)

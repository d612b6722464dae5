"""Images in shards, read where they are: nothing is unpacked.

- `shard`: what a shard holds, of either kind
- `tar_shard`: tar files, as webdataset's tools write them
- `table_shard`: Parquet and Arrow files, as Hugging Face's `datasets` writes them
- `member_path`: the path of a file in a shard, which is opened like any other
- `list_shards`: the images of many shards with their captions

Python's tarfile reads the headers, and files are read at their offsets. The package webdataset streams shards from the
beginning and shuffles what is in a buffer, so that the order depends on the number of processes and a run cannot be
resumed at an image. With offsets, any image can be read at any time, and the order stays that of `Batches`.
The package datasets first copies Parquet files to Arrow files in a cache of its own, and after its shuffle a run cannot
be resumed exactly either. Both kinds of its files are read by pyarrow alone.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "list_shards": ["estimate_shards", "find_shards", "list_shards"],
        "member_path": ["MemberPath", "get_shown_name", "is_any_file", "open_file"],
    },
)

"""Object storage, such as `s3://bucket/model.safetensors`: fetch models and images, and keep runs there.

`addresses` says what is an address and where its local copy is, and `patterns` which files a pattern names;
`file_systems` opens the storage through fsspec and turns its errors into sentences; `fetching` downloads files and
folders, and `progress` says who is told about it; `uploading` keeps a folder in storage up to date.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "addresses": ["find_copy", "get_copy_path", "is_address"],
        "fetching": ["fetch"],
        "patterns": ["expand_braces", "has_pattern"],
        "progress": ["show_download"],
        "uploading": ["FolderUpload", "download_folder"],
    },
)

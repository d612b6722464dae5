"""Find the image files of a data set, and what belongs to each.

- `list_dataset`: the entry point; decides what kind of data set a path is
- `layouts`: plain folders, folders with a metadata file, kohya's numbered folders
- `dataset_config`: kohya's dataset_config.toml or .json; `dataset_keys` are its keys
- `several_folders`: more folders beside the first one
- `zip_archives`: unpack an archive into the cache, with limits
- `member_names`: why a file in an archive is left out because of its name
- `subsets`: settings of a group of images, and the captions they give to one image
- `image_files`: list files, select images by name, describe files that are left out
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "dataset_config": ["list_metadata_file"],
        "image_files": [
            "FileProblem",
            "IMAGE_SUFFIXES",
            "exclude_masks",
            "get_mask_path",
            "join_phrases",
            "list_files",
            "is_hidden",
            "is_image_name",
            "list_names",
            "select_images",
        ],
        "layouts": ["ImageEntry", "Listing", "list_folder"],
        "member_names": ["describe_bad_name"],
        "several_folders": ["add_folders"],
        "subsets": ["Subset", "get_caption_suffixes", "parse_kohya_folder_name"],
        "zip_archives": ["decode_member_name"],
    },
)

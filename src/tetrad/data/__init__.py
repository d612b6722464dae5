"""From a folder of images to batches of latents.

- `discover`: find the image files of a folder or a dataset configuration
- `shards`: images in tar, Parquet and Arrow files, read where they are
- `captions`: read, clean and vary captions
- `dataset`: decode the images and report the ones that cannot be used
- `caption_effects`: find the caption settings that change a caption
- `buckets`: the sizes that images are resized to, so that they can share a batch
- `encoding`: encode each image with the VAE once; `parallel` decodes in threads, `turns` shares out to processes
- `latent_cache`: keep latents and masks on disk, in a `cache_folder` that also knows what was seen in each image
- `record_shards`: the files that a large data set's cache is in
- `fitted_images`: keep large images at the size that they are trained at until they are encoded
- `masks`: loss masks from transparency or mask files
- `class_images`: the class images of prior preservation
- `batches`: the batches of every step, as a function of the seed and the step number
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "batches": ["Batch", "Batches", "TrainingSample", "make_fixed_batch"],
        "buckets": ["bucket_of", "count_batches"],
        "caption_effects": [
            "BatchRange",
            "find_settings_that_change_captions",
            "is_left_open",
        ],
        "captions.caption_files": ["BadCaption", "CAPTION_SUFFIXES", "read_caption", "read_caption_file"],
        "captions.captions": ["contains_word", "replace_word", "split_tags", "find_placeholder"],
        "captions.captioner": ["Captioner"],
        "captions.command": ["Command"],
        "captions.tagger": ["Tagger"],
        "captions.edits": ["add_tags", "check_text_to_find", "count_tags", "normalize_caption", "remove_tags"],
        "captions.folder": ["CaptionChange", "CaptionEdit", "CaptionFolder"],
        "captions.journal": ["CaptionJournal", "Change", "find_caption_file", "find_changed_since"],
        "captions.metadata_files": ["METADATA_FILE_NAMES", "read_metadata"],
        "captions.templates": ["check_template_has_name", "find_line_without_name", "find_unknown_text"],
        "class_images": ["ClassImages", "find_class_images", "parse_class_image_number"],
        "dataset": [
            "MAX_COMPARED",
            "Photo",
            "collect_photos",
            "describe_caption_sources",
            "exclude_class_images",
            "group_copies",
            "group_similar",
            "has_own_text",
            "inspect_in_turns",
            "inspect_photos",
            "no_usable_image_error",
            "warn_about_captions",
        ],
        "discover.dataset_config": ["list_metadata_file"],
        "discover.image_files": [
            "FileProblem",
            "IMAGE_SUFFIXES",
            "exclude_masks",
            "get_mask_path",
            "list_files",
            "list_names",
            "select_images",
        ],
        "discover.layouts": ["Listing"],
        "discover.several_folders": ["add_folders"],
        "discover.subsets": ["Subset", "parse_kohya_folder_name"],
        "discover.zip_archives": ["decode_member_name"],
        "encoding": ["EncodingJob", "encode_in_turns", "encode_photos"],
        "cache_folder": ["CacheFolder"],
        "masks": ["find_mask"],
        "shards.list_shards": ["estimate_shards", "find_shards"],
        "shards.member_path": ["MemberPath", "get_shown_name"],
        "latent_cache": ["LatentCache"],
        "parallel": ["map_ahead"],
    },
)

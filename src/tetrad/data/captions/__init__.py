"""Read captions of any encoding, and make the caption of each use of an image.

- `caption_files`: read caption files and make captions from file names
- `metadata_files`: captions of a whole folder in one file (metadata.jsonl, metadata.csv, kohya's .json)
- `encodings`: decode text files, and guess the encoding of those that are not UTF-8 by the letters that
  `letter_scores` finds likely and `common_letters` lists; `guessed_encodings` says which were guessed, and which
  captions are a web UI's text
- `templates`: caption templates with [name] and [filewords]
- `captions`: fill templates, shuffle and drop tags
- `edits`: change the text of one caption: tags, texts, the trigger word
- `journal`: write caption files as one change, all or none, which can be undone
- `folder`: the captions of a folder of images, listed and changed together
- `command`: caption images with a program
- `tagger`: tag images with a WD14 tagger
- `captioner`: caption images with a BLIP, GIT or Florence-2 model in a folder
- `translation`: translate Chinese tags with a dictionary
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "caption_files": [
            "BadCaption",
            "CAPTION_SUFFIXES",
            "RawCaption",
            "detect_folder_encoding",
            "make_caption_from_name",
            "read_caption",
            "read_caption_file",
            "read_text",
        ],
        "captions": ["Captions", "TrainingProgress", "contains_word", "replace_word", "split_tags", "find_placeholder"],
        "edits": ["add_tags", "check_text_to_find", "count_tags", "list_tags", "normalize_caption", "remove_tags"],
        "command": ["Command"],
        "captioner": ["Captioner"],
        "tagger": ["Tagger"],
        "journal": ["CaptionJournal", "Change", "find_caption_file", "find_changed_since"],
        "folder": ["CaptionChange", "CaptionEdit", "CaptionFolder"],
        "encodings": ["ENCODING_NAMES", "decode_text"],
        "guessed_encodings": ["describe_guessed_encodings", "describe_infotexts"],
        "metadata_files": ["METADATA_FILE_NAMES", "get_caption", "read_metadata"],
        "templates": [
            "CaptionTemplate",
            "SUBJECT_TEMPLATES",
            "check_template_has_name",
            "find_line_without_name",
            "load_template",
            "find_unknown_text",
        ],
    },
)

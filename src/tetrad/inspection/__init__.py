"""Say what any file or folder is without loading it into a model, for `tetrad inspect` and `tetrad scan`.

`inspect` handles weight files and finds what a path is; `images` handles images, and `folders` folders of runs and of
diffusers;
`dataset` is the doctor for folders of training images;
`html_page` is the frame of reports as HTML;
`by_file_type` collects what is special to a type of weight file; `result` is what all of them return, and `text`
shows it to a person.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "dataset.html_sheet": ["make_html_sheet"],
        "dataset.report": ["DatasetReport", "Finding", "ScannedImage"],
        "dataset.scan": ["DEFAULT_RESOLUTION", "list_images", "make_report"],
        "dataset.text": ["describe_layout_line", "describe_report", "join_counts"],
        "html_page": ["embed_image", "embed_thumbnail", "escape_text", "make_page"],
        "inspect": ["inspect_path"],
        "result": ["FileLabel", "Inspection"],
        "text": ["describe_byte_count", "format_byte_count", "format_value"],
    },
)

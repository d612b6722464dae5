"""The dataset doctor: say what a folder of images is like before anything is trained on it, for `tetrad scan`.

- `scan`: decode the images of a data set and make its report
- `report`: the report, which the terminal, JSON and the HTML sheet show
- `images`: sizes, shapes, buckets, duplicates, and what each image is like
- `captions`: whose captions are missing, their length, their tags and their language
- `advice`: what to do, in whole sentences
- `text`: the report as lines for a terminal
- `html_sheet`: the report as one HTML file with thumbnails
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "html_sheet": ["make_html_sheet"],
        "report": ["Advice", "DatasetReport", "Finding", "ScannedImage"],
        "scan": ["DEFAULT_RESOLUTION", "check_any_usable", "list_images", "make_report", "scan", "scan_images"],
        "text": ["describe_layout_line", "describe_report", "join_counts"],
    },
)

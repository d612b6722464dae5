"""Image files: load, save, lay out and compare.

- `load`: open any common image file (nothing else opens images), decode it as upright sRGB, fit it to a size
- `completeness`: decode the pixels, and find files that lack some though no decoder says so; `jpeg_data`: for JPEG
- `bands`: convert and resize a large image without a second copy of its pixels; `diagnosis`: why a file is no image
- `decoders`: the formats that are read, with those of plugins; `tensors`: convert images to tensors and back
- `examine`: what one decoding shows of a file: size, changes, thumbnail, and the measures of `measure`
- `concurrency`: lets threads decode at the same time
- `png`: save a PNG with its infotext, read the infotext of an image; `infotext`: parse it
- `contact_sheet`: images in labelled rows and columns
- `vae_comparison`: a sheet that compares VAEs on one image
- `metrics`: PSNR, SSIM and colour change against a reference
- `near_duplicates`: find resized, re-saved or mirrored copies
- `fonts`: a font for the labels, with Chinese letters if one is installed
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "contact_sheet": [
            "BACKGROUND_COLOUR",
            "CELL_WIDTH",
            "LABEL_COLOUR",
            "TEXT_COLOUR",
            "draw_text_lines",
            "wrap_text",
        ],
        "concurrency": ["PIXEL_BUDGET"],
        "decoders": ["list_formats"],
        "examine": ["FIXES", "IS_TRANSPARENT", "ImageInfo", "examine_image", "make_preview"],
        "fonts": ["label_text", "load_font"],
        "bands": ["UprightImage", "decode_image", "fit_on_white", "read_alpha"],
        "diagnosis": [
            "BadImage",
            "DOCUMENT_ERROR",
            "HEIC_ERROR",
            "JPEG_XL_ERROR",
            "PLUGIN_FORMATS",
            "RAW_ERROR",
            "check_is_file",
            "explain_unreadable",
            "is_image_start",
        ],
        "infotext": ["Infotext", "NEGATIVE_PREFIX", "parse_infotext"],
        "load": [
            "compute_micro_conditioning",
            "decode_upright",
            "fit_to_size",
            "load_image",
            "open_image",
            "read_exif_orientation",
            "to_srgb_on_white",
        ],
        "measure": ["Measures"],
        "metrics": ["psnr"],
        "near_duplicates": ["group_near_duplicates"],
        "tensors": ["grey_to_tensor", "to_array", "to_image", "to_tensor"],
        "png": ["unreadable_image_error"],
    },
)

"""File formats: reads and writes weight files, and translates other tools' tensor names to canonical ones and back.

Every format is a pure function from dict to dict; no model and no network access is needed.

- `weight_files` opens and writes all weight files: safetensors, pickles, diffusers folders. `atomic_write` replaces a
  file as a whole, `pickles` reads torch's pickles safely, and `pickle_scan` says what a pickle asks for.
  `safetensors_header` checks the header of a safetensors file before the library reads it. `suffixes` are those of
  weight files, and `file_hashes` the hashes by which other tools identify them.
- `ldm`, `openclip` and `diffusers` are the layouts of checkpoints: CompVis single files, OpenCLIP's text encoder in
  them, and diffusers folders. `vae` handles VAE files in any of these layouts.
- `embedding_images` reads embeddings inside images as A1111 saves them, and `embedding_image_writer` writes them;
  `bundles` handles those inside LoRA files.
- `kohya` and `peft` are the two formats of LoRA files. `a1111` handles embeddings and hypernetworks.
- `key_tables` translates names by a table of module paths. `survey` collects shapes, dtypes and bad values of a file.
- `tensor_streams` reads weight files tensor by tensor, in constant memory, and where it pays past the page cache, for
  which there is `direct_reading`; `tensor_writer` writes safetensors files and
  `pickle_writer` .ckpt files so. `deferred_tensors` are tensors of such files on which the other modules
  work without reading them.
- `tensors` prepares tensors that were read, and those that are to be written; `stored_tensors` gives them as bytes,
  without torch where that is possible.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "atomic_write": [
            "convert_write_errors",
            "is_temporary",
            "make_temporary_folder",
            "remove_all",
            "remove_left_behind",
            "replace_file",
            "write_atomically",
            "stage_replacement",
        ],
        "ldm": ["SingleFileLayout"],
        "safetensors_header": ["looks_like_safetensors"],
        "suffixes": ["PICKLE_SUFFIXES", "WEIGHT_FILE_SUFFIXES", "is_image"],
        "survey": ["TensorSurvey", "count_elements"],
        "tensor_streams": ["TensorFile", "TensorLayout", "open_tensors"],
        "tensor_writer": ["STREAMS", "WORKERS", "Compute", "check_free_space", "write_tensors"],
        "tensors": ["as_bytes", "unshare_tensors", "widen_float8"],
        "vae": ["find_vae_keys"],
        "file_hashes": ["compute_file_hash"],
        "weight_files": [
            "FileContent",
            "read_safetensors_metadata",
            "read_tensor_names",
            "read_weight_file",
            "WeightFile",
            "get_stem",
        ],
        "deferred_tensors": ["compute_tensor", "defer_tensors", "list_sources"],
        "pickle_writer": ["write_pickle"],
        "embedding_image_writer": ["write_embedding_image"],
    },
)

"""Other trainers' configurations: read them as recipes, and say of every key what becomes of it.

`read` recognizes whose configuration a file is, `document` opens it and `commands` finds the command lines in shell
files. Each trainer has a reader: `kohya` (sd-scripts), `kohya_ss`, `lora_scripts`, `onetrainer` and `ai_toolkit`. They
fill a `job`: the outcome of each key, by the rules of `rules` and the texts of `reasons`; `folders` keeps what each
folder of images has for itself. `flat` flattens nested values, `optimizers`, `rates`, `half_weights` and
`quantized_base` translate optimizers, learning rates, weights in bfloat16 and those in 8 or 4 bits, `prior` what is
held to the model before training, and `samples` what previews have beside their prompts. `arithmetic` counts steps as
the trainers do, and `pictures` counts their images. `report` lists the outcome, `to_kohya` writes sd-scripts' keys, by
`exported_keys`.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "job": ["Job", "Outcome"],
        "read": [
            "check",
            "dump",
            "find_trainer",
            "is_recipe",
            "make_recipe",
            "missing_files_error",
            "read_configuration",
        ],
        "report": ["as_records", "as_table", "describe_row", "list_groups", "list_notes", "summarize"],
        "to_kohya": ["export_run"],
    },
)

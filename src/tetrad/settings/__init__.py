"""The settings of a run, without torch: one source for recipes, flags, docs and the JSON schema.

`field` declares one setting. Each section of a recipe has a module: `data` (with `buckets`, `captions`, `image_folder`,
`class_images` and `preserve`), `train` (with `updates`), `loss`, `sample`, `judge`, `log`, `save`, and `method`, the
union of the methods' own settings. `recipe` joins the sections, and `vae_decoder` is the recipe of a VAE decoder.
`learning_rate`, `optimizers`, `samplers`, `schedulers` and `device` are types of settings, `train_checks` finds
settings that contradict each other, and `values` has the rules for their values. `toml` reads and writes recipes,
`effects` finds settings without effect, `docs` writes the page of all settings and `schema` the JSON schema.
`other_names` finds the setting that a name of another trainer stands for.
"""

from typing import TYPE_CHECKING

from tetrad.lazy import export

if TYPE_CHECKING:  # so that type checkers know what the sections are
    from tetrad.settings.buckets import BucketSettings as BucketSettings
    from tetrad.settings.captions import CaptionSettings as CaptionSettings
    from tetrad.settings.class_images import ClassImageSettings as ClassImageSettings
    from tetrad.settings.data import Data as Data
    from tetrad.settings.image_folder import ImageFolder as ImageFolder
    from tetrad.settings.judge import Judge as Judge
    from tetrad.settings.log import Log as Log
    from tetrad.settings.loss import Loss as Loss
    from tetrad.settings.preserve import PreserveSettings as PreserveSettings
    from tetrad.settings.recipe import Recipe as Recipe
    from tetrad.settings.recipe import Text as Text
    from tetrad.settings.sample import Sample as Sample
    from tetrad.settings.save import Save as Save
    from tetrad.settings.schema import json_schema as json_schema
    from tetrad.settings.toml import build_recipe as build_recipe
    from tetrad.settings.toml import dump_recipe as dump_recipe
    from tetrad.settings.toml import read_values as read_values
    from tetrad.settings.train import Train as Train

# Imported on first use: a section may need the methods, whose settings import `field`.
__all__, __getattr__ = export(
    __name__,
    {
        "class_images": ["ClassImageSettings"],
        "buckets": ["BucketSettings"],
        "captions": ["CaptionSettings"],
        "data": ["Data"],
        "device": ["check_device_name"],
        "effects": ["without_effect"],
        "field": [
            "Facts",
            "Needs",
            "Setting",
            "as_exact_number",
            "as_number",
            "as_toml",
            "option",
            "replace",
            "section_names",
            "settings_class",
            "settings_of",
            "range_error",
        ],
        "image_folder": ["ImageFolder"],
        "judge": ["Judge"],
        "log": ["Log"],
        "learning_rate": ["MAX_FACTOR", "MAX_LEARNING_RATE", "LearningRate", "parse_learning_rate"],
        "loss": ["Loss"],
        "other_names": ["MeantSetting", "find_meant_setting"],
        "preserve": ["PreserveSettings"],
        "recipe": ["Recipe", "Text"],
        "sample": ["Sample"],
        "samplers": ["SAMPLERS", "find_nearest_sampler", "resolve_sampler_name"],
        "save": ["Save"],
        "schema": ["json_schema"],
        "toml": [
            "as_values",
            "assign",
            "build_recipe",
            "build_settings",
            "dump_recipe",
            "flatten",
            "put",
            "read_values",
            "replace_in",
        ],
        "optimizers": [
            "CLASS_PATTERN",
            "OPTIMIZERS",
            "OptimizerFacts",
            "get_facts",
            "parse_argument",
            "parse_arguments",
        ],
        "schedulers": ["Scheduler"],
        "train": ["Train"],
        "values": ["AnyCase", "Check", "quote"],
        "vae_decoder": ["DecoderRecipe", "DecoderTrain"],
    },
)

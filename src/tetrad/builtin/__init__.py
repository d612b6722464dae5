"""The built-in model, its sample images, and how both are addressed.

`builtin` names the model (model.safetensors, described in MODEL_CARD.md), and `builtin:subject`, `builtin:person` and
`builtin:style` name the folders `subject`, `person` and `style` of sample images. `vocabulary` lists the subjects,
styles and backgrounds the model knows, and makes captions of them, and `other_words` other words for its subjects;
`known_words` finds the words of a prompt that it does not know; `drawings` holds the drawings (drawings.webp) and
places them on a background; `recognition` measures which drawing an image is nearest to; `usual_training` has the
steps and learning rates of a run that gives none.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path

from tetrad.errors import TetradError
from tetrad.lazy import export
from tetrad.locales import _
from tetrad.paths import expand_path

_NAMES, __getattr__ = export(
    __name__,
    {
        "known_words": ["explain_unknown_words", "list_known_words"],
        "recognition": ["compute_distances", "compute_features", "detect_background", "detect_colour"],
        "usual_training": ["count_usual_steps", "list_usual_rates"],
        "vocabulary": [
            "BACKGROUNDS",
            "HELD_OUT_DRAWING_SET",
            "PEOPLE",
            "SAMPLE_OBJECT",
            "SAMPLE_PERSON",
            "SAMPLE_STYLE_SET",
            "STYLE_WORDS",
            "SubjectStylePair",
            "TRAINED_SUBJECTS",
            "TRIGGER_WORD",
            "add_article",
            "get_restyled_pairs",
            "get_subject_words",
            "make_caption",
        ],
    },
)
__all__ = [
    "BUILTIN_NAME",
    "DEMO_LEARNING_RATE",
    "DEMO_STEPS",
    "IMAGE_SIDE",
    "LEARNING_RATES",
    "MODEL_CARD_PATH",
    "MODEL_PATH",
    "STEPS",
    "resolve_images_path",
    "resolve_model_path",
    *_NAMES,
]


FOLDER = Path(__file__).parent
MODEL_PATH = FOLDER / "model.safetensors"
MODEL_CARD_PATH = FOLDER / "MODEL_CARD.md"
SAMPLE_SETS = ("subject", "person", "style")
BUILTIN_NAME = "builtin"
IMAGE_SIDE = 128  # pixels of what the built-in model generates, and of its sample images
# How LoRA learns the robot in the demo, in the terminal and on the page.
DEMO_STEPS, DEMO_LEARNING_RATE = 180, 5e-4
# How long and how fast each method learns on the built-in model. It is so small that the usual rates change little, and
# that the usual steps of some methods are far more than it needs.
STEPS: Mapping[str, int] = {
    "textual-inversion": 300,
    "hypernetwork": 400,
    "lora": DEMO_STEPS,
    "dreambooth": DEMO_STEPS,
}
LEARNING_RATES: Mapping[str, float | str] = {
    "textual-inversion": "0.1:200, 0.02",
    "hypernetwork": "2.5e-4:300, 1e-4",
    "lora": DEMO_LEARNING_RATE,
    "dreambooth": 7e-5,
}


def resolve_model_path(name: str) -> Path:
    """The path of a model; `builtin` is the built-in one."""
    return MODEL_PATH if name == BUILTIN_NAME else expand_path(name)


def resolve_images_path(name: str) -> Path:
    """The folder of images; `builtin:subject` and so on are built in.  E4001 without a name or for an unknown one."""
    if not name:
        raise TetradError("E4001", _("no images are given; name a folder of images, or builtin:subject to try it out"))
    if not name.startswith(BUILTIN_NAME + ":"):
        return expand_path(name)
    sample_set = name.removeprefix(BUILTIN_NAME + ":")
    if sample_set not in SAMPLE_SETS:
        closest = difflib.get_close_matches(sample_set, SAMPLE_SETS, n=1, cutoff=0.0)[0]
        raise TetradError(
            "E4001",
            _("there are no built-in images called {name}; did you mean {suggestion}?"),
            name=name,
            suggestion=f"{BUILTIN_NAME}:{closest}",
        )
    return FOLDER / sample_set

"""Open the model of a recipe as a run trains it."""

from dataclasses import replace

from tetrad import library
from tetrad.builtin import resolve_model_path
from tetrad.errors import TetradError
from tetrad.methods.base import behavior_of
from tetrad.models import device as devices
from tetrad.models.base import Model, denoiser_of
from tetrad.models.clip import CHUNK_LENGTH, TextEncoding
from tetrad.models.quantized_layers import quantize_layers
from tetrad.paths import expand_path
from tetrad.run.dataset import select_training_vae
from tetrad.settings import Recipe
from tetrad.weights import Weights


def find_model_resolution(model: str) -> int:
    """The resolution of a model by the beginning of its file; 0 for a file that cannot be used, which loading reports.

    It may be wrong for a model whose prediction is measured once it is loaded.
    """
    try:
        with library.open_checkpoint(resolve_model_path(model)) as opened:
            resolution: int = opened.build_model().resolution
    except (TetradError, OSError):
        return 0
    return resolution


def open_model(recipe: Recipe, device: devices.DeviceSpec) -> tuple[Model, Weights | None]:
    """The model with the recipe's settings, and the weights that the run continues from, if any."""
    model = library.load_model(recipe.model, recipe.prediction)
    behavior = behavior_of(recipe.method)
    devices.move_to(model, device, behavior.full_precision_parts(recipe.method, model))
    model.text_encoding = TextEncoding(recipe.text.clip_skip, recipe.text.max_tokens // CHUNK_LENGTH)
    if recipe.loss.zero_terminal_snr:
        model.noise = model.noise.with_zero_terminal()
        model.prediction_info = replace(model.prediction_info, zero_terminal_snr=model.noise.prediction == "v")
    if model.vae.is_missing and (path := select_training_vae(recipe.model, recipe.vae, model).path):
        library.mount_vae(path, model)  # previews and class images need a VAE too
    if recipe.text.clip_skip:
        model.condition([""])  # raises E5012 early where the text encoder has too few layers
    if not recipe.continue_from:
        return model, None
    return model, library.read_weights(expand_path(recipe.continue_from), model, recipe.method.artifact.type)


def quantize_base(model: Model, kind: str) -> None:
    """Quantize the weights of the denoiser, none of which is trained; "none" leaves them."""
    if kind != "none":
        quantize_layers(denoiser_of(model), kind)

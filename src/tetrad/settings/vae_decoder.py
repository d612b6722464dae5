"""The recipe for training the decoder of a VAE."""

from dataclasses import field

from tetrad.locales import Message, _
from tetrad.settings.device import DeviceName
from tetrad.settings.field import Needs, option, settings_class
from tetrad.settings.save import MAX_RESUME_GB, RUN_NAME, UPLOAD_TO, WAIT_FOR_SPACE, keep_resume_option
from tetrad.settings.values import Check


@settings_class
class DecoderTrain:
    """Training of the decoder."""

    steps: int = option(1000, _("Number of training steps"), group="training", flag="--steps", ge=1, le=1_000_000)
    batch_size: int = option(4, _("Batch size, in crops"), group="training", flag="--batch-size", ge=1, le=256)
    crop: int = option(
        256,
        _("Side of the crops in pixels, a multiple of 8"),
        group="training",
        flag="--crop-size",
        check=Check(lambda side: side % 8 == 0, Message(_("a multiple of 8; 256 is typical")), {"multipleOf": 8}),
        ge=64,
        le=1024,
    )
    learning_rate: float = option(
        3e-5, _("Learning rate of the decoder"), group="training", flag="--learning-rate", gt=0, le=0.01
    )
    detail: float = option(0.1, _("Weight of the detail loss"), group="loss", flag="--detail-weight", ge=0, le=10)
    ema: float = option(
        0.999,
        _("Decay of an exponential moving average (EMA) of the weights, which is saved; 0: the last weights are saved"),
        group="training",
        flag="--ema-decay",
        ge=0,
        lt=1,
    )
    seed: int = option(0, _("Random seed"), group="training", flag="--seed", ge=0, le=2**63 - 1)
    device: DeviceName = option("auto", _("Device: auto, cpu, cuda, cuda:1 or mps"), group="memory", flag="--device")


@settings_class
class DecoderSave:
    """Folder and name of the saved files."""

    out: str = option("runs", _("Folder for runs; each run creates its own folder in it"), group="saving", flag="--out")
    name: str = option(
        "",
        _("Name of the run and its file; not given: the name of the image folder"),
        group="saving",
        flag="--name",
        check=RUN_NAME,
    )
    keep_resume: bool = keep_resume_option()
    max_resume_gb: float = MAX_RESUME_GB
    wait_for_space: bool = WAIT_FOR_SPACE
    upload_to: str = UPLOAD_TO


@settings_class
class DecoderRecipe:
    """Every setting for training the decoder of a VAE."""

    images: str = option("", _("Folder of images, or builtin:subject, builtin:person, builtin:style"), group="data")
    model: str = option(
        "builtin",
        _("Model whose VAE is trained: a checkpoint, a diffusers folder, or builtin"),
        group="model",
        flag="--model",
    )
    vae: str = option(
        "Automatic",
        _("VAE to start from: Automatic, None (the VAE of the checkpoint), a name in the VAE folders, or a path"),
        group="model",
        flag="--vae",
    )
    vae_dir: str = option(
        "",
        _("Folder of VAE files; not given: runs"),
        group="model",
        flag="--vae-dir",
        needs=Needs("uses VAE folder"),
    )
    models_dir: str = option(
        "", _("Folder of A1111, Forge or ComfyUI, to find models in"), group="model", flag="--models-dir"
    )
    train: DecoderTrain = field(default_factory=DecoderTrain)
    save: DecoderSave = field(default_factory=DecoderSave)

"""What the inside of a weight file tells of it, kind by kind: facts by name, and what is wrong with it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tetrad.formats import a1111, files, ldm, sniff, survey, vae
from tetrad.formats.survey import Survey
from tetrad.library.hashes import after_header
from tetrad.library.latents import latents
from tetrad.library.networks import TEXT_WIDTHS, family_of_lora
from tetrad.library.vae_facts import Facts, digest_of, of_file
from tetrad.library.vaes import read_vae
from tetrad.models import FAMILIES

Values = dict[str, Any]
Metadata = Mapping[str, str]
Found = tuple[Values, list[str]]  # facts, trouble

# What people ask of a file somebody else trained, and under which names it may stand in it, the best first.
SAID = {
    "title": ("modelspec.title", "ss_output_name", "name"),
    "trigger word": ("modelspec.trigger_phrase", "word"),
    "base model": ("ss_sd_model_name", "sd_checkpoint_name"),
    "base hash": ("ss_new_sd_model_hash", "sd_checkpoint"),
    "trained with VAE": ("ss_vae_name",),
    "steps": ("ss_steps", "step"),
    "epochs": ("ss_epoch",),
    "learning rate": ("ss_learning_rate",),
    "text learning rate": ("ss_text_encoder_lr",),
    "optimizer": ("ss_optimizer",),
    "batch size": ("ss_total_batch_size", "ss_batch_size_per_device"),
    "resolution": ("modelspec.resolution", "ss_resolution"),
    "pictures": ("ss_num_train_images",),
    "seed": ("ss_seed",),
    "comment": ("ss_training_comment",),
    "date": ("modelspec.date",),
}
NOTHING = ("", "None", "null", "0", "{}", "[]")
TAGS = 8  # of the most frequent words of the captions


def of_training(about: Metadata) -> Values:
    """What a file says of how it was made."""
    found = {name: next((about[key] for key in keys if about.get(key)), "") for name, keys in SAID.items()}
    return {name: said for name, said in found.items() if said not in NOTHING} | frequent(about)


def frequent(about: Metadata) -> Values:
    """The words that stand in most captions, by which many files are called without saying so."""
    try:
        folders = json.loads(about.get("ss_tag_frequency", "{}"))
        counts = [(count, tag.strip()) for tags in folders.values() for tag, count in tags.items()]
        most = sorted(counts, key=lambda each: -each[0])[:TAGS]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {"words of its captions": ", ".join(tag for _, tag in most)} if most else {}


def checkpoint(path: Path, found: Survey, about: Metadata) -> Found:
    """Family, prediction, what is inside and what is not."""
    family, trouble = FAMILIES[sniff(found.shapes)], []
    flags = {"tetrad.flags": " ".join(flag for flag in ldm.FLAGS if flag in found.shapes)}
    known = family.predicts({**about, **flags})
    keys, _ = vae.found(found.shapes)
    inside = "inside" if keys else "none inside"
    if not keys:
        trouble.append("no VAE is inside, so it needs one beside it or named with --vae")
    elif not any(key.theirs in found.damaged for key in keys):
        inside = f"inside, {digest_of(read_vae(path))}"
    values = {
        "family": family.title,
        "predicts": f"{known.prediction}: {known.why}" if known else "not said; it is measured when it is used",
        "VAE": inside,
        "U-Net parameters": found.part(f"{ldm.UNET}."),
    }
    if averages := found.part("model_ema."):
        values["parameters of averages"] = averages
    channels = found.shapes.get(f"{ldm.UNET}.input_blocks.0.0.weight", (0, 4))[1]
    if channels != 4:
        what = {9: "inpainting", 8: "editing (pix2pix)"}.get(channels, "another purpose")
        trouble.append(f"its U-Net reads {channels} channels, not 4: it is a model for {what}")
    return values | of_training(about), trouble


def lora(path: Path, found: Survey, about: Metadata) -> Found:
    """Algorithm, spelling, ranks, and whether it can do anything."""
    made, trouble = survey.lora(found), []
    if made.unknown:
        trouble.append(f"{len(made.unknown)} keys are of no algorithm known here (the first is {made.unknown[0]})")
    if made.silent and made.silent >= sum(made.modules.values()):
        trouble.append("all of it is zero: it changes nothing, so nothing was learned")
    said = about.get("sshs_model_hash", "")
    if said and said != (real := after_header(path)):
        trouble.append(f"its sshs_model_hash says {said[:12]} and its content has {real[:12]}: it was changed since")
    values = {
        "family": family_of_lora(about, found.shapes) or "not said",
        "algorithm": made.algorithm,
        "spelling": made.spelling,
        "modules": dict(made.modules),
        "rank": several(made.ranks),
        "rank of convolutions": several(made.conv_ranks),
        "alpha": several(made.alphas),
    }
    return {name: value for name, value in values.items() if value != ""} | of_training(about), trouble


def embedding(path: Path, found: Survey, about: Metadata) -> Found:
    """Its word is its file's name; vectors and family by their shape.  E5106 where it holds several words."""
    learned, left = a1111.decode_embedding(files.read(path))
    widths = [tensor.shape[1] for tensor in learned.tensors.values()]
    family = "Stable Diffusion XL" if len(widths) == 2 else TEXT_WIDTHS.get(widths[0], "of no known width")
    trouble = [f"{len(left)} keys belong to no embedding (the first is {left[0]})"] if left else []
    values = {"family": family, "vectors": len(next(iter(learned.tensors.values()))), "widths": widths}
    return values | of_training(about) | {"trigger word": path.stem}, trouble


def hypernetwork(path: Path, found: Survey, about: Metadata) -> Found:
    """Its layers, and the widths it acts on.  E5108 where it is not built as it says."""
    learned, left = a1111.decode_hypernetwork(files.read(path))
    widths = sorted({int(name.partition(".")[0]) for name in learned.tensors})
    texts = [TEXT_WIDTHS[width] for width in widths if width in TEXT_WIDTHS]
    trouble = [f"{len(left)} keys belong to no layer of it (the first is {left[0]})"] if left else []
    values = {
        "family": texts[0] if len(texts) == 1 else "not said",
        "layer structure": json.loads(learned.metadata["structure"]),
        "activation": learned.metadata["activation"],
        "layer norm": learned.metadata["layer_norm"] == "true",
        "dropout": json.loads(learned.metadata["dropout"]),
        "widths": widths,
    }
    return values | of_training(about), trouble


def by_itself(path: Path, found: Survey, about: Metadata) -> Found:
    """A VAE's own file.  What `read_vae` raises, unless its numbers are none, which is said of every kind."""
    if found.damaged:
        return {"family": "cannot be told"}, []
    seen = of_file(Facts(), path)
    return {"family": seen.lines["family"]}, seen.warnings


def latent(path: Path, found: Survey, about: Metadata) -> Found:
    """Whose latents, of how large a picture."""
    held = latents(files.read(path))
    if held is None or held.mean.ndim != 3:
        return {}, ["its latents are not those of one picture"]
    height, width = held.mean.shape[1:]
    values = {"family": held.family or "not said", "VAE": held.vae or "not said"}
    return values | {"channels": held.mean.shape[0], "picture": f"{8 * width} x {8 * height}"}, []


def several(counts: Mapping[Any, int]) -> Any:
    """One value where all agree, else each with how often: "16 (190), 8 (2)"; "" for none."""
    each = [value if value != int(value) else int(value) for value in counts]
    if len(each) < 2:
        return each[0] if each else ""
    ordered = sorted(zip(each, counts.values(), strict=True), key=lambda pair: -pair[1])
    return ", ".join(f"{value:g} ({number})" for value, number in ordered)


KINDS: dict[str, Callable[[Path, Survey, Metadata], Found]] = {
    "checkpoint": checkpoint,
    "lora": lora,
    "embedding": embedding,
    "hypernetwork": hypernetwork,
    "vae": by_itself,
    "latents": latent,
}

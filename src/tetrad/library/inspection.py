"""What any file or folder is, as far as it can be told without using it: for people who found it somewhere."""

import json
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from tetrad.builtin import model_path
from tetrad.data.listing import PICTURES
from tetrad.errors import TetradError
from tetrad.formats import a1111, described, diffusers, files, sniff, survey
from tetrad.formats.survey import Survey
from tetrad.generation import infotext, png
from tetrad.library.contents import KINDS, Metadata, Values
from tetrad.library.hashes import after_header, file_hash
from tetrad.library.vae_facts import Facts, of_file
from tetrad.models import FAMILIES

EMBEDDED = "sd-ti-embedding"  # where the web UI hides an embedding in a picture
OF_DIFFUSERS = ("unet", "vae", "text_encoder", "text_encoder_2")


@dataclass
class Inspection:
    """What a path is: its kind for programs, in words, facts by name, all that it says of itself, what is wrong."""

    path: str
    kind: str
    what: str
    facts: Values = field(default_factory=dict)
    metadata: Metadata = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)


def inspected(name: str) -> Inspection:
    """What lies at a path; `builtin` is our own model.  No pickle is executed.

    Raises what `files.read` raises for a file that cannot be read, E5220 for a folder that is nothing known.
    """
    path = model_path(name)
    if path.is_dir():
        return folder(path)
    if path.suffix.lower() in PICTURES and path.is_file():
        return picture(path)
    return weights(path)


def weights(path: Path) -> Inspection:
    """A weight file of any kind."""
    found, about = survey.surveyed(files.each(path)), files.said(path)
    sniffed = kind_of(found, about)
    kind = "checkpoint" if sniffed in FAMILIES else sniffed
    values, trouble = told(kind, path, found, about)
    what = "latents of a picture" if kind == "latents" else described(sniffed)
    values |= numbers_of(found) | {"bytes": path.stat().st_size} | hashes(path)
    if found.damaged:
        many = f"{len(found.damaged)} of {len(found.shapes)} tensors hold NaN or infinity"
        trouble.append(f"{many} (the first is {found.damaged[0]}): it is damaged, or its training diverged")
    if kind == "unknown":
        trouble.append(f"it holds {', '.join(list(found.shapes)[:3]) or 'no tensors at all'}")
    return Inspection(str(path), kind, what, values, about, trouble)


def told(kind: str, path: Path, found: Survey, about: Metadata) -> tuple[Values, list[str]]:
    """What its kind has to say of a file; what is so wrong that using it would be refused is trouble here."""
    try:
        return KINDS[kind](path, found, about) if kind in KINDS else ({}, [])
    except TetradError as error:
        return {}, [error.message]


def kind_of(found: Survey, about: Metadata) -> str:
    """`sniff`, and what it takes more than a few names to tell."""
    if "latent_tensor" in found.shapes or "tetrad.latent.scale" in about:
        return "latents"
    return a1111.kind(found.shapes) or sniff(found.shapes)


def numbers_of(found: Survey) -> Values:
    precisions = found.precisions.most_common()
    words = [f"{name} ({number} tensors)" if len(precisions) > 1 else name for name, number in precisions]
    return {"precision": ", ".join(words), "tensors": len(found.shapes), "parameters": found.numbers}


def hashes(path: Path) -> Values:
    """What people know a file by: Civitai's AutoV1, 2 and 3; web UIs show 2 of models, and 3 of LoRAs."""
    whole = file_hash(path)
    old = {"AutoV1": files.file_legacy_hash(path)} if path.stat().st_size > files.LEGACY_START else {}
    found = {"sha256": whole, **old, "AutoV2": whole[:10]}
    return found | ({"AutoV3": after_header(path)[:12]} if path.suffix.lower() == ".safetensors" else {})


def picture(path: Path) -> Inspection:
    """A picture, and what is written in it.  E4103 where it is none."""
    try:
        with Image.open(path) as opened:
            values: Values = {"size": f"{opened.width} x {opened.height}", "format": opened.format}
            hidden = EMBEDDED in opened.info
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise TetradError("E4103", f"{path} is no picture that can be read; open it in a viewer") from error
    values["bytes"] = path.stat().st_size
    if hidden:
        values["embedding"] = f"one is inside, in {EMBEDDED}, as the web UI writes its previews"
    try:
        said = infotext.read(png.parameters(path))
    except TetradError:
        return Inspection(str(path), "picture", "a picture that does not say how it was drawn", values)
    values |= {"prompt": said.prompt, "negative prompt": said.negative, **said.facts}
    return Inspection(str(path), "picture", "a picture that says how it was drawn", values)


def folder(path: Path) -> Inspection:
    """A run's folder, diffusers' of a whole model or of a VAE.  E5220 for any other."""
    if (path / "recipe.toml").is_file():
        return run(path)
    if (path / "unet").is_dir():
        return pipeline(path)
    if any((path / name).is_file() for name in diffusers.places("vae")):
        seen = of_file(Facts(), path)
        return Inspection(str(path), "vae", "a VAE in a folder of diffusers", dict(seen.lines), {}, seen.warnings)
    there = ", ".join(sorted(each.name for each in path.iterdir())[:5]) or "nothing"
    raise TetradError(
        "E5220", f"{path} is no run's folder and none of diffusers; it holds {there}; give a file or a folder in it"
    )


def run(path: Path) -> Inspection:
    """What a run was to do, how far it came, what it left."""
    trouble: list[str] = []
    try:
        recipe = tomllib.loads((path / "recipe.toml").read_text("utf-8"))
    except (OSError, ValueError) as error:
        recipe, trouble = {}, [f"recipe.toml cannot be read ({error})"]
    decoder = recipe.get("vae-decoder", {})
    method, data = section(recipe, "method"), section(recipe, "data")
    values = {
        "method": method.get("kind") or ("vae-decoder" if decoder else "not said"),
        "model": recipe.get("model") or section(recipe, "vae-decoder").get("model", "not said"),
        "word": data.get("word", ""),
    }
    metrics, events = lines(path / "metrics.jsonl"), lines(path / "events.jsonl")
    last: Values = next((record for record in reversed(metrics) if "step" in record), {})
    ended = next((record for record in reversed(events) if record.get("event") == "finished"), None)
    values["steps"] = f"{last.get('step', 0)} of {last.get('steps') or section(recipe, 'train').get('steps', '?')}"
    values["last loss"] = last.get("loss", "none")
    values["ended"] = (
        "not yet, or it was cut off" if ended is None else "complete" if ended.get("complete") else "stopped"
    )
    kept = sorted(each for each in path.iterdir() if each.suffix.lower() in (".safetensors", *files.PICKLES))
    values["files"] = [each.name for each in kept]
    values["previews"] = len(list((path / "samples").glob("*.png")))
    if not kept:
        trouble.append("nothing that was learned is in it")
    return Inspection(
        str(path), "run", "the folder of a run", {k: v for k, v in values.items() if v != ""}, {}, trouble
    )


def section(recipe: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = recipe.get(name)
    return found if isinstance(found, dict) else {}


def lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines; what was cut off is left out."""
    found = []
    for line in path.read_text("utf-8", "replace").splitlines() if path.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        found += [record] if isinstance(record, dict) else []
    return found


def pipeline(path: Path) -> Inspection:
    """A whole model as diffusers keeps it: its family, what it predicts, its networks."""
    from tetrad.library.baking import folder_family
    from tetrad.library.models import network_files

    family, trouble = FAMILIES[folder_family(path)], []
    scheduler = files.read_json(path / "scheduler" / "scheduler_config.json")
    values: Values = {"family": family.title, "predicts": scheduler.get("prediction_type", "not said")}
    precisions: Counter[str] = Counter()
    whole = 0
    for part in OF_DIFFUSERS:
        there = network_files(path / part, part) if (path / part).is_dir() else []
        for file in there:
            found = survey.surveyed(files.each(file))
            precisions += found.precisions
            whole += file.stat().st_size
            values[part] = values.get(part, 0) + found.numbers
            trouble += (
                [f"{file.relative_to(path)} holds NaN or infinity in {found.damaged[0]}"] if found.damaged else []
            )
        if not there and part != "text_encoder_2":
            trouble.append(f"there is no {part} in it")
    values |= {"precision": ", ".join(precisions), "bytes": whole}
    what = f"{described(family.family)} as a folder of diffusers"
    return Inspection(str(path), "checkpoint", what, values, {}, trouble)

"""A picture drawn again by what is written in it: with which files, over what, and what cannot be as it was."""

import re
from collections.abc import Collection, Iterator, Mapping

from tetrad.errors import TetradError
from tetrad.generation.infotext import SCHEDULES, Infotext

BARE = "bare"  # in a VAE's place: the latents themselves, to see what a missing one looks like
HIRES = ("Hires upscaler", "Hires upscale", "Hires resize")  # a second pass has a denoising strength, too
# What changes a picture and is not drawn here, where it is there at all.
UNREPEATED = {
    "Script": "the grid around its first picture",
    "Hires upscaler": "the second pass",
    "Variation seed": "the variation",
    "Face restoration": "the face restoration",
    "Refiner": "the refiner",
    "Tiling": "the tiling",
    "ENSD": "the second seed",
    "Inpaint area": "the drawing of the masked part by itself",
    "Mask mode": "the mask turned round",
    "Masked content": "what was put under the mask",
    "Emphasis": "another way of weighing words",
    "Token merging ratio": "the merging of tokens",
    "Eta": "another share of fresh noise",
    "NGMS": "steps without the negative prompt",
    "Skip Early CFG": "steps without the negative prompt",
    "Noise Schedule": "another noise schedule",
}
FILES = {"model": "Model hash", "vae": "VAE hash", "image": "Init image hash", "mask": "Mask hash"}
CALLED = {"model": "the model", "vae": "the VAE", "image": "the picture drawn over", "mask": "the mask"}
NETWORKS = {"Lora hashes": "LoRA", "TI hashes": "embedding"}


def is_ours(found: Infotext) -> bool:
    return found.facts.get("Version", "").startswith("tetrad")


def vae(found: Infotext) -> str:
    """The VAE a picture was drawn with: a file's name, BARE, None; Automatic where older tools would not say."""
    if "Bare latents" in found.facts:
        return BARE
    return found.facts.get("VAE", "None" if is_ours(found) else "Automatic")


def check_start(found: Infotext, name: str, image: object, mask: object) -> None:
    """E3206 where the picture was drawn over another, or within a mask, and that is not given again."""
    facts = found.facts
    over = "Denoising strength" in facts and not any(key in facts for key in HIRES)
    if over and image is None:
        raise TetradError("E3206", f"{name} was drawn over another picture; give that with --image to draw it again")
    if "Mask blur" in facts and mask is None:
        raise TetradError("E3206", f"{name} was drawn within a mask; give that with --mask to draw it again")


def unrepeated(found: Infotext) -> list[str]:
    """What made the picture and is not done here, in words."""
    left = dict.fromkeys(words for key, words in UNREPEATED.items() if found.facts.get(key, "0") not in ("0", ""))
    said = found.facts.get("Schedule type", "Automatic")
    if said not in (*SCHEDULES.values(), "Automatic"):
        left[f"the schedule {said}"] = None
    if "Version" in found.facts and not is_ours(found) and found.facts.get("RNG") != "CPU":
        left["the noise, which came from the graphics card"] = None
    return list(left)


def differences(before: Infotext, after: Infotext, given: Collection[str] = ()) -> Iterator[str]:
    """In what a picture drawn again differs from the first by its files, but for what was asked to differ.

    `given` are the names of the flags that were given beside it: "model", "vae", "prompt".
    """
    for name, key in FILES.items():
        if name == "image" and not is_ours(before):
            continue  # A1111's hash is of the picture before it was fitted
        then, now = before.facts.get(key, ""), after.facts.get(key, "")
        if name not in given and then and then != now:
            yield f"{CALLED[name]} is another one, {now or 'none'} instead of {then}"
    for key, called in NETWORKS.items():
        now_there = hashes(after.facts, key)
        for name, then in hashes(before.facts, key).items():
            if name in now_there and now_there[name] != then:
                yield f"the {called} {name} is another file, {now_there[name]} instead of {then}"
            elif name not in now_there and called == "embedding" and "prompt" not in given:
                yield f"there is no embedding called {name} here"


def hashes(facts: Mapping[str, str], key: str) -> dict[str, str]:
    """`ink: 0123456789ab, wash: …` by name."""
    return dict(re.findall(r"([^,:]+): *(\w+)(?:,\s*|$)", facts.get(key, "")))

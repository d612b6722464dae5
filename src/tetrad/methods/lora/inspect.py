"""Describes a LoRA file by its tensors' names and shapes: algorithm, format, ranks, trained parts and problems."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any

from tetrad.formats import bundles, kohya, peft
from tetrad.formats.survey import TensorSurvey, count_elements
from tetrad.locales import Message, _, ngettext
from tetrad.methods.base import FactsAndProblems, Metadata
from tetrad.methods.lora.detection import detect_family, find_unsupported_algorithm

TENSOR_SUFFIXES = sorted({*kohya.TENSOR_SUFFIXES.values(), *peft.TENSOR_NAMES_BY_SUFFIX}, key=len, reverse=True)
_DOWN_KEY = re.compile(r"(down|lora_A|_A\.default|hada_w1_b|lokr_w[12]_b)(\.default)?(\.weight)?$")
_UP_KEY = re.compile(r"(up|lora_B)(\.default)?\.weight$")
PARTS = (
    (Message(_("second text encoder")), re.compile(r"^(lora_te2_|text_encoder_2\.|text_encoders\.clip_g\.)")),
    (Message(_("text encoder")), re.compile(r"^(lora_te1?_|text_encoder\.|text_encoders\.|lycoris_text_model)")),
    (Message(_("U-Net")), re.compile(r"")),
)
NO_EFFECT = Message(_("all weights are zero, so the LoRA has no effect; it was not trained"))
ALGORITHMS = (
    ("LoHa", "hada_"),
    ("LoKr", "lokr_"),
    ("OFT", "oft_"),
    ("Full (diff)", "diff"),
)  # LyCORIS' names, prefixes of tensors


def describe_file(path: Path, survey: TensorSurvey, metadata: Metadata, content_hash: str) -> FactsAndProblems:
    """Family, algorithm, format, trained parts, ranks and alphas, and problems."""
    lora = _survey_lora(survey)
    bundled_words = bundles.list_words(survey.shapes)
    facts: dict[str, Any] = {
        _("family"): detect_family(metadata, survey.shapes) or Message(_("not stated")),
        _("algorithm"): lora.algorithm,
        _("format"): lora.file_format,
        _("modules"): dict(lora.modules),
        _("rank"): _summarize_counts(lora.ranks),
        _("rank of convolutions"): _summarize_counts(lora.conv_ranks),
        _("alpha"): _summarize_counts(lora.alphas),
        _("embeddings inside, and their vectors"): {word: _count_vectors(word, survey.shapes) for word in bundled_words}
        or "",
    }
    problems = _find_problems(lora, metadata.get("sshs_model_hash", ""), content_hash)
    return {name: value for name, value in facts.items() if value != ""}, problems


def _count_vectors(word: str, shapes: Mapping[str, tuple[int, ...]]) -> int:
    shape = next(shape for name, shape in shapes.items() if name.startswith(f"{bundles.PREFIX}{word}."))
    return shape[0] if len(shape) > 1 else 1


def _find_problems(lora: "_LoraSurvey", stated_hash: str, content_hash: str) -> list[Message]:
    """Keys of no known algorithm, a LoRA without effect, and content that was changed after training."""
    problems = []
    if lora.unknown_keys:
        keys_template = ngettext(
            "{count} key belongs to no known LoRA algorithm ({key})",
            "{count} keys belong to no known LoRA algorithm (first: {key})",
            len(lora.unknown_keys),
        )
        problems.append(Message(keys_template, key=lora.unknown_keys[0]))
    if lora.zero_modules and lora.zero_modules >= sum(lora.modules.values()):
        problems.append(NO_EFFECT)
    if stated_hash and stated_hash != content_hash:
        template = _("sshs_model_hash is {stated}, but the content's hash is {found}: the file was changed later")
        problems.append(Message(template, stated=stated_hash[:12], found=content_hash[:12]))
    return problems


def _summarize_counts(counts: Mapping[Any, int]) -> Any:
    """The value where all agree, else each with its count: "16 (190), 8 (2)"; "" for none."""
    values = [int(value) if float(value).is_integer() else value for value in counts]
    if len(values) < 2:
        return values[0] if values else ""
    by_count = sorted(zip(values, counts.values(), strict=True), key=lambda pair: -pair[1])
    return ", ".join(f"{value:g} ({number})" for value, number in by_count)


@dataclass(frozen=True)
class _LoraSurvey:
    """Format, algorithm, trained parts and sizes of a LoRA."""

    file_format: str
    algorithm: str | Message
    modules: Mapping[Message, int]  # number of modules by part of the model
    ranks: Mapping[int, int]  # number of modules by rank
    conv_ranks: Mapping[int, int]  # the same for convolutions larger than 1×1
    alphas: Mapping[float, int]
    unknown_keys: list[str]  # keys of no known algorithm
    zero_modules: int  # modules without effect, since B is zero


def _survey_lora(tensor_survey: TensorSurvey) -> _LoraSurvey:
    """Read format, algorithm and sizes from the tensor names and shapes of a LoRA in any format."""
    modules: dict[str, set[str]] = {}
    unknown_keys: list[str] = []
    for name in tensor_survey.shapes:
        if bundles.list_words([name]):
            continue
        module, suffix = _split_key(name)
        if suffix:
            modules.setdefault(module, set()).add(suffix)
        else:
            unknown_keys.append(name)
    ranks, conv_ranks = Counter[int](), Counter[int]()
    for name, shape in tensor_survey.shapes.items():
        if _DOWN_KEY.search(name) and len(shape) > 1:
            (conv_ranks if count_elements(shape[2:]) > 1 else ranks)[shape[0]] += 1
    suffixes = {ending for each in modules.values() for ending in each}
    alphas = (value for name, value in tensor_survey.scalars.items() if name.endswith("alpha"))
    return _LoraSurvey(
        _detect_file_format(modules),
        _find_unsupported_algorithms(tensor_survey) or _detect_algorithm(suffixes, bool(conv_ranks)),
        Counter(next(part for part, pattern in PARTS if pattern.search(module)) for module in modules),
        ranks,
        conv_ranks,
        Counter(nan if isnan(value) else value for value in alphas),  # every NaN would be a key of its own
        unknown_keys,
        sum(bool(_UP_KEY.search(name)) for name in tensor_survey.all_zero),
    )


def _find_unsupported_algorithms(survey: TensorSurvey) -> str:
    """The names of the algorithms in a file that Tetrad recognizes and does not read; "" for none."""
    found = (find_unsupported_algorithm(name, len(shape)) for name, shape in survey.shapes.items())
    return " + ".join(sorted({*found} - {""}))


def _detect_file_format(modules: Collection[str]) -> str:
    """The name of the tool whose names for layers a file uses."""
    comfyui_prefixes = tuple(prefix for prefixes in kohya.COMFYUI_PREFIXES.values() for prefix in prefixes)
    if any(name.startswith(comfyui_prefixes) for name in modules):
        return "ComfyUI"
    is_kohya = any(name.startswith(("lora_", "oft_", kohya.LYCORIS_PREFIX)) for name in modules)
    return "kohya" if is_kohya else "diffusers (PEFT)"


def _split_key(name: str) -> tuple[str, str]:
    """A key split into its module and the tensor's name; "" for the name where no algorithm has such a tensor."""
    for pattern in (peft.PROCESSOR_KEY, peft.TEXT_PROCESSOR_KEY):
        if match := pattern.fullmatch(name):
            return f"{match[1]}{match[2]}", f"lora.{match[3]}.weight"
    suffix = next((ending for ending in TENSOR_SUFFIXES if name.endswith(f".{ending}")), "")
    return name.removesuffix(f".{suffix}"), suffix


def _detect_algorithm(suffixes: set[str], has_convolutions: bool) -> str | Message:
    """The usual name of a LoRA with such tensors."""
    algorithms = [title for title, prefix in ALGORITHMS if any(ending.startswith(prefix) for ending in suffixes)]
    if any("down" in ending or "lora_A" in ending for ending in suffixes):
        algorithms.insert(0, "LoCon" if has_convolutions else "LoRA")
    if suffixes & {
        "dora_scale",
        *(name for name, tensor_name in peft.TENSOR_NAMES_BY_SUFFIX.items() if tensor_name == "magnitude"),
    }:
        algorithms.append("DoRA")
    return " + ".join(algorithms) or Message(_("unknown"))

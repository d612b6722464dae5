"""Verify a file: whether it is whole, finite and safe, which programs load it, and whether it changes anything."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tetrad.builtin import resolve_model_path
from tetrad.comparison import LoraFile, list_released_models, read_lora
from tetrad.comparison.diff import diff
from tetrad.errors import TetradError
from tetrad.formats import a1111, weight_files
from tetrad.formats.suffixes import is_image
from tetrad.formats.tensor_streams import open_tensors
from tetrad.inspection import Inspection, describe_byte_count, inspect_path
from tetrad.library.checkpoints import load_model
from tetrad.library.identification import identify
from tetrad.library.vae.read import find_vae_file, read_vae
from tetrad.locales import Message, _, ngettext
from tetrad.methods.lora.inspect import NO_EFFECT
from tetrad.methods.textual_inversion.embedding import check_family
from tetrad.models.base import Model
from tetrad.models.families import FAMILIES
from tetrad.verification import effects
from tetrad.verification.checkpoints import judge_checkpoint, judge_folder
from tetrad.verification.containers import explain_unopened
from tetrad.verification.embeddings import has_several, judge_embedding
from tetrad.verification.hypernetworks import judge_hypernetwork
from tetrad.verification.loras import judge_lora, list_examples
from tetrad.verification.result import READERS, Finding, Verdict, Verification
from tetrad.verification.vaes import judge_vae

_PROBLEM = _("problem")
_NO_WEIGHT_FILES = ("image", "run", "latents")
_UNREADABLE_ALGORITHM = "E5135"


def verify(path: str | Path, *, base: str | Path = "") -> Verification:
    """Verify a weight file, an image with an embedding inside, or a diffusers folder.

    `base` is the checkpoint that it is for or was made from: its size is compared with what the file changes. Raises
    what `weight_files.read_weight_file` raises for a file that cannot be read, E5483 for what is no weight file, and
    what opening the base model raises.
    """
    inspection = inspect_path(str(path))
    file_type = inspection.kind
    if file_type in _NO_WEIGHT_FILES:
        template = _("{path} is {type}; give a model file, a trained file or a diffusers folder")
        raise TetradError("E5483", template, path=inspection.path, type=inspection.what)
    verification = Verification(inspection, [*_check_content(inspection)])
    if verify_type := _VERIFIERS.get(file_type):
        verify_type(verification, resolve_model_path(str(path)), str(base))
    verdicts = [_open_first(verification, verdict) for verdict in verification.verdicts]
    verification.verdicts = sorted(verdicts, key=lambda verdict: READERS.index(verdict.reader))
    return verification


def _check_content(inspection: Inspection) -> Iterator[Finding]:
    """Whether it is whole, finite and safe, and what else `inspect` found wrong with it."""
    path = Path(inspection.path)
    size = sum(each.stat().st_size for each in ([path] if path.is_file() else path.rglob("*")) if each.is_file())
    yield Finding(_("whole"), "ok", Message(_("{size}, all of it could be read"), size=describe_byte_count(size)))
    names = tuple(inspection.not_finite)
    if names:
        template = ngettext(
            "{count} tensor contains NaN or Inf: {names}", "{count} tensors contain NaN or Inf: {names}", len(names)
        )
        yield Finding(_("finite"), "bad", Message(template, names=list_examples(names)), names)
    else:
        yield Finding(_("finite"), "ok", Message(_("no tensor contains NaN or Inf")))
    yield Finding(_("safe"), "ok", _describe_safety(path))
    for problem in inspection.trouble:
        if problem != NO_EFFECT and problem.values.get("tensor") not in names:  # what is said in other words here
            yield Finding(_PROBLEM, "warn", problem)


def _describe_safety(path: Path) -> Message:
    """Why nothing in a file that was read can run."""
    if is_image(path):
        return Message(_("the embedding in the image is JSON"))
    if path.is_file() and weight_files.is_pickle(path, weight_files.read_first_bytes(path)):
        return Message(_("a pickle that asks for tensors only"))
    return Message(_("safetensors, which hold tensors and text only"))


def _open_first(verification: Verification, verdict: Verdict) -> Verdict:
    """The verdict, or that the program does not open such a file at all."""
    path = Path(verification.path)
    if not path.is_file() or verdict.outcome == "no":
        return verdict
    reason = explain_unopened(verdict.reader, path, verification.inspection.kind)
    return Verdict(verdict.reader, "no", reason) if reason else verdict


def _load_base(base: str) -> Model | None:
    return load_model(base) if base else None


def _verify_lora(verification: Verification, path: Path, base: str) -> None:
    file, model = weight_files.read_weight_file(path), _load_base(base)
    try:
        lora = read_lora(file, model)
    except TetradError as error:
        if error.code != _UNREADABLE_ALGORITHM:
            raise
        verification.findings.append(Finding(effects.LABEL, "warn", error.sentence))
        verification.verdicts += judge_lora(file, model or list_released_models(file)[0])
        return
    if lora.unmatched:
        template = ngettext(
            "{count} key matches no layer of {model}: {names}",
            "{count} keys match no layer of {model}: {names}",
            len(lora.unmatched),
        )
        message = Message(template, model=lora.model.name, names=list_examples(lora.unmatched))
        verification.findings.append(Finding(_("keys"), "warn", message, tuple(lora.unmatched)))
    can_be_measured = lora.layers and not verification.inspection.not_finite
    if can_be_measured and not (lora.misfits and lora.has_base_weights):
        try:
            finding, verification.change_by_layer = effects.measure_lora(lora)
        except TetradError as error:
            finding = Finding(effects.LABEL, "bad", error.sentence)
        verification.findings.append(finding)
    if lora.misfits:
        verification.verdicts += [Verdict(reader, "no", _describe_misfits(lora)) for reader in READERS]
    else:
        verification.verdicts += judge_lora(file, lora.model)


def _describe_misfits(lora: LoraFile) -> Message:
    """That a LoRA was made for a model of another size."""
    template = ngettext(
        "the tensors of {count} of {total} layers do not fit {model} ({layers}): it is for a model of another size",
        "the tensors of {count} of {total} layers do not fit {model} ({layers}): it is for a model of another size",
        len(lora.misfits),
    )
    return Message(template, total=len(lora.layers), model=lora.model.name, layers=list_examples(lora.misfits))


def _verify_embedding(verification: Verification, path: Path, base: str) -> None:
    file, model = weight_files.read_weight_file(path), _load_base(base)
    is_dict = is_image(path) or weight_files.is_pickle(path, weight_files.read_first_bytes(path))
    verification.verdicts += judge_embedding(file, len(file.tensors) + (len(file.metadata) if is_dict else 0))
    if verification.inspection.trouble:
        if not has_several(file):
            damaged = (replace(each, state="bad") for each in verification.findings if each.label == _PROBLEM)
            others = (each for each in verification.findings if each.label != _PROBLEM)
            verification.findings = [*others, *damaged]
        return
    weights, _unmatched = a1111.decode_embedding(file)
    widths = [tensor.shape[1] for tensor in weights.tensors.values()]
    if model:
        check_family(weights, model)
    elif sum(widths) not in [family.text_width for family in FAMILIES.values()]:
        shown = " + ".join(map(str, widths))
        message = Message(_("its vectors are {widths} wide, as in no released model"), widths=shown)
        verification.findings.append(Finding(_PROBLEM, "warn", message))
    verification.findings.append(effects.measure_embedding(weights, model))


def _verify_hypernetwork(verification: Verification, path: Path, base: str) -> None:
    file = weight_files.read_weight_file(path)
    try:
        verification.verdicts += judge_hypernetwork(file)
        if not verification.inspection.not_finite:
            verification.findings.append(effects.measure_hypernetwork(file))
    except TetradError as error:
        verification.findings.append(Finding(effects.LABEL, "bad", error.sentence))
        verification.verdicts = [Verdict(reader, "no", error.sentence) for reader in READERS]


def _verify_checkpoint(verification: Verification, path: Path, base: str) -> None:
    if path.is_dir():
        verification.verdicts += judge_folder(path)
    else:
        with open_tensors(path) as file:
            shapes = {name: layout.shape for name, layout in file.items()}
        verification.verdicts += judge_checkpoint(FAMILIES[identify(shapes)].build_released(), shapes)
    if base:
        verification.findings.append(effects.describe_difference(diff(base, path)))


def _verify_vae(verification: Verification, path: Path, base: str) -> None:
    try:
        weights = read_vae(path)
    except TetradError as error:
        verification.verdicts = [Verdict(reader, "no", error.sentence) for reader in READERS]
        return
    with open_tensors(find_vae_file(path)) as file:
        verification.verdicts += judge_vae(path, list(file))
    if base:
        verification.findings.append(effects.measure_vae(weights, read_vae(resolve_model_path(base)), base))


_VERIFIERS: dict[str, Callable[[Verification, Path, str], None]] = {
    "lora": _verify_lora,
    "embedding": _verify_embedding,
    "hypernetwork": _verify_hypernetwork,
    "checkpoint": _verify_checkpoint,
    "vae": _verify_vae,
}

"""Find what a file or folder is, as far as that is possible without using it.

What needs torch or Pillow is imported only for folders, for images and for pickles.
"""

from dataclasses import replace
from pathlib import Path

from tetrad.builtin import resolve_model_path
from tetrad.errors import TetradError
from tetrad.formats import file_hashes, stored_tensors, survey, weight_files
from tetrad.formats.safetensors_header import looks_like_safetensors
from tetrad.formats.suffixes import WEIGHT_FILE_SUFFIXES
from tetrad.formats.survey import TensorSurvey
from tetrad.inspection.by_file_type import INSPECTORS
from tetrad.inspection.result import Facts, Inspection, Metadata
from tetrad.library.hashes import compute_hash_after_header, get_file_hash
from tetrad.library.identification import UNKNOWN, artifact_type, identify, title_of
from tetrad.locales import Message, _, ngettext


def inspect_path(name: str) -> Inspection:
    """Inspect a file, a folder, or the built-in model (`builtin`).  No pickle is executed.

    Raises what `weight_files.read_weight_file` raises for a file that cannot be read, E5220 for an unknown folder.
    """
    path = resolve_model_path(name)
    if path.is_dir():
        from tetrad.inspection.folders import inspect_folder

        return inspect_folder(path)
    if path.suffix.lower() not in WEIGHT_FILE_SUFFIXES:
        from tetrad.inspection import images

        if images.is_image_file(path):
            return _inspect_embedding_image(path) if images.has_embedding(path) else images.inspect_image(path)
    return _inspect_weights(path)


def _inspect_weights(path: Path) -> Inspection:
    """A weight file of any type."""
    tensor_survey = survey.survey_tensors(stored_tensors.iterate_tensors(path))
    metadata = weight_files.read_metadata(path)
    detected_type = _detect_file_type(tensor_survey, metadata)
    file_type = artifact_type(detected_type)
    facts, problems = _inspect_by_file_type(file_type, path, tensor_survey, metadata)
    title = Message(_("latents of an image")) if file_type == "latents" else title_of(detected_type)
    facts |= _summarize_tensors(tensor_survey) | {_("bytes"): path.stat().st_size} | _compute_hashes(path)
    if tensor_survey.non_finite:
        template: str = ngettext(
            "{count} of {total} tensors contains NaN or Inf ({tensor}): the file is damaged or the training diverged",
            "{count} of {total} tensors contain NaN or Inf (the first is {tensor}): the file is damaged or the"
            " training diverged",
            len(tensor_survey.non_finite),
        )
        only = Message(
            _("its only tensor contains NaN or Inf ({tensor}): the file is damaged or the training diverged"),
            tensor=tensor_survey.non_finite[0],
        )
        several = Message(template, total=len(tensor_survey.shapes), tensor=tensor_survey.non_finite[0])
        problems.append(only if len(tensor_survey.shapes) == 1 else several)
    if file_type == UNKNOWN and tensor_survey.shapes:
        names = ", ".join(list(tensor_survey.shapes)[:3])
        problems.append(Message(_("its type is unknown; its first tensors are {tensors}"), tensors=names))
    elif file_type == UNKNOWN:
        problems.append(Message(_("it contains no tensors")))
    return Inspection(str(path), file_type, title, facts, metadata, problems, tensor_survey.non_finite)


def _inspect_by_file_type(
    file_type: str, path: Path, tensor_survey: TensorSurvey, metadata: Metadata
) -> tuple[Facts, list[Message]]:
    """Facts and problems special to a type; an error that would prevent using the file becomes a problem."""
    try:
        return INSPECTORS[file_type](path, tensor_survey, metadata) if file_type in INSPECTORS else ({}, [])
    except TetradError as error:
        return {}, [error.sentence]


def _detect_file_type(tensor_survey: TensorSurvey, metadata: Metadata) -> str:
    """The type as in `identify`, or "latents"."""
    if "latent_tensor" in tensor_survey.shapes or "tetrad.latent.scale" in metadata:
        return "latents"
    return identify(tensor_survey.shapes)


def _summarize_tensors(tensor_survey: TensorSurvey) -> Facts:
    dtype_counts = tensor_survey.dtype_counts.most_common()
    precisions = [f"{name} ({count})" if len(dtype_counts) > 1 else name for name, count in dtype_counts]
    return {
        _("precision"): ", ".join(precisions),
        _("tensors"): len(tensor_survey.shapes),
        _("parameters"): tensor_survey.parameter_count,
    }


def _compute_hashes(path: Path) -> Facts:
    """The sha256, and Civitai's AutoV1, AutoV2 and AutoV3; web UIs show AutoV2 for models and AutoV3 for LoRAs."""
    sha256 = get_file_hash(path)
    facts = {"sha256": sha256}
    if path.stat().st_size > file_hashes.LEGACY_HASH_OFFSET:
        facts["AutoV1"] = file_hashes.compute_file_legacy_hash(path)
    facts["AutoV2"] = sha256[:10]
    if looks_like_safetensors(weight_files.read_first_bytes(path)):
        facts["AutoV3"] = compute_hash_after_header(path)[:12]
    return facts


def _inspect_embedding_image(path: Path) -> Inspection:
    """An embedding inside an image; what is wrong with it is a problem of the image."""
    from tetrad.inspection.images import inspect_image

    try:
        inspection = _inspect_weights(path)
    except TetradError as error:
        inspection = inspect_image(path)
        inspection.trouble.append(error.sentence)
        return inspection
    return replace(inspection, what=Message(_("a Textual Inversion embedding inside an image")))

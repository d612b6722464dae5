"""Choose the VAE for a checkpoint by the rules of AUTOMATIC1111's web UI 1.10, and say which rule decided."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tetrad.builtin import MODEL_PATH
from tetrad.errors import TetradError
from tetrad.formats import vae, weight_files
from tetrad.library.folders import ModelFolders, walk_visible_files
from tetrad.library.identification import UNKNOWN, identify
from tetrad.library.search import get_stem
from tetrad.library.vae.web_ui_settings import AUTOMATIC, NONE, WEB_UI_CONFIG_NAME, read_json, read_vae_setting
from tetrad.locales import Message, _
from tetrad.paths import expand_path

_VAE_SUFFIXES = (".ckpt", ".pt", ".safetensors")  # in the order in which the web UI lists them
_VAE_SIDECAR_SUFFIXES = tuple(f".vae{suffix}" for suffix in _VAE_SUFFIXES)
_OWN_VAE = _("the checkpoint's own")


@dataclass(frozen=True)
class VaeChoice:
    """The file or folder of a VAE, None for the one inside the checkpoint, and the rule that chose it."""

    path: Path | None
    reason: Message
    warnings: tuple[Message, ...] = ()  # where another VAE may have been meant

    @property
    def name(self) -> str:
        """The file's name, or in English that it is the checkpoint's own; for files and programs."""
        return self.path.name if self.path else _OWN_VAE

    @property
    def label(self) -> str | Message:
        """The name for a person."""
        return self.path.name if self.path else Message(_OWN_VAE)


def choose_vae(
    checkpoint_path: Path,
    vae_name: str = AUTOMATIC,
    vae_folders: Sequence[Path] = (),
    checkpoint_folders: Sequence[Path] = (),
) -> VaeChoice:
    """The VAE for a checkpoint; `vae_name` is Automatic, None, the name of a listed file, or a path.

    `checkpoint_folders` and their subfolders are searched for `*.vae.*`; so is the checkpoint's own folder. The rules,
    in order: a path; a name or None; the web UI's setting, unless it is Automatic; "vae" in the checkpoint's own
    `<stem>.json`; the first listed file whose name begins with the checkpoint's stem; the VAE inside the checkpoint.

    Raises E5206 where a name is not listed or a path does not exist.
    """
    vae_paths = list_vaes(checkpoint_path, vae_folders, checkpoint_folders)
    if vae_name.lower() == NONE.lower():
        return VaeChoice(None, Message(_("the checkpoint's own, because None was chosen")))
    if vae_name.lower() != AUTOMATIC.lower():
        return _find_vae_by_name(vae_name, vae_paths)
    setting, overrides_model_settings = read_vae_setting([*vae_folders, *checkpoint_folders])
    if setting and overrides_model_settings:
        return _choose_by_web_ui_setting(setting, vae_paths)
    choice, warnings = _choose_by_model_json(checkpoint_path, vae_paths)
    if choice:
        return choice
    choice = _choose_by_name_prefix(checkpoint_path, vae_paths)
    if choice is None and setting:
        choice = _choose_by_web_ui_setting(setting, vae_paths)
    if choice is None:
        no_match = _("the checkpoint's own, because no VAE file's name begins with the checkpoint's name")
        choice = VaeChoice(None, Message(no_match))
    return replace(choice, warnings=(*warnings, *choice.warnings))


def choose_training_vae(checkpoint_path: Path, vae_name: str, own_is_missing: bool, folders: ModelFolders) -> VaeChoice:
    """The VAE whose latents a model is trained on: its own, unless another is named or it has none.

    A warning says where generation would use another VAE.  E5206 as in `choose_vae`.
    """
    if vae_name or own_is_missing:
        return choose_vae(checkpoint_path, vae_name or AUTOMATIC, folders["vae"], folders["checkpoint"])
    generation_vae = choose_vae(checkpoint_path, AUTOMATIC, folders["vae"], folders["checkpoint"])
    own_vae = VaeChoice(None, Message(_("the checkpoint's own, because no other VAE was chosen for training")))
    if generation_vae.path is None:
        return own_vae
    template = _(
        "{vae} is used to generate images with {checkpoint}, but not to train it; choose {vae} as the VAE of the"
        " training to train on its latents"
    )
    return replace(
        own_vae, warnings=(Message(template, vae=generation_vae.path.name, checkpoint=checkpoint_path.name),)
    )


def list_vaes(
    checkpoint_path: Path, vae_folders: Sequence[Path] = (), checkpoint_folders: Sequence[Path] = ()
) -> dict[str, Path]:
    """Every VAE file by name, in the web UI's order; of two with one name the later one counts, at the first's place.

    The `*.vae.*` of the checkpoints' folders come first, ordered by suffix; then the VAE folders, a web UI's own before
    the one given with --vae-dir.
    """
    checkpoint_paths = [
        *_list_files_beside(checkpoint_path),
        *(path for folder in checkpoint_folders for path in _list_files_below(folder)),
    ]
    vae_paths: dict[str, Path] = {}
    for paths, suffixes in (
        (checkpoint_paths, _VAE_SIDECAR_SUFFIXES),
        *((_list_files_below(folder), _VAE_SUFFIXES) for folder in reversed(vae_folders)),
    ):
        for path in _select_by_suffixes(paths, suffixes):
            vae_paths[path.name] = path
    return vae_paths


def _list_files_beside(checkpoint_path: Path) -> list[Path]:
    folder = checkpoint_path.parent
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def _list_files_below(folder: Path) -> list[Path]:
    """The files in a folder and its subfolders, links included, sorted; none where the folder does not exist."""
    return sorted(path for path in walk_visible_files(folder) if path.is_file())


def _select_by_suffixes(paths: Iterable[Path], suffixes: Sequence[str]) -> Iterator[Path]:
    """The paths that have one of the suffixes, ordered by suffix."""
    paths = list(paths)
    for suffix in suffixes:
        yield from (path for path in paths if path.name.lower().endswith(suffix))


def _find_vae_by_name(vae_name: str, vae_paths: dict[str, Path]) -> VaeChoice:
    """The file at that path; else the listed file of that name, with or without suffix, in any case; else a folder."""
    path = expand_path(vae_name)
    choice_by_path = VaeChoice(path, Message(_("{path}, because it was given with --vae"), path=path))
    if path.is_file():
        return choice_by_path
    for normalize_case in (str, str.lower):
        for name in vae_paths:
            if normalize_case(vae_name) in map(normalize_case, (name, *_strip_suffixes(name))):
                return VaeChoice(vae_paths[name], Message(_("{vae}, because it was chosen by name"), vae=name))
    if path.exists():
        return choice_by_path
    vae_names = [name for name, listed_path in vae_paths.items() if may_be_vae(listed_path)]  # no LoRA in the folder
    if not vae_names:
        template = _(
            "there is no VAE called {name}: the folders searched contain no VAE; Automatic and None are possible too"
        )
        raise TetradError("E5206", template, name=vae_name)
    nearest = difflib.get_close_matches(vae_name, vae_names, n=3, cutoff=0.3) or vae_names[:3]
    template = _("there is no VAE called {name}; the nearest are {nearest}; Automatic and None are possible too")
    raise TetradError("E5206", template, name=vae_name, nearest=", ".join(nearest))


def _strip_suffixes(name: str) -> tuple[str, str]:
    stem = Path(name).stem
    return stem, stem.removesuffix(".vae")


def _choose_by_web_ui_setting(setting: str, vae_paths: dict[str, Path]) -> VaeChoice:
    """The VAE of the web UI's settings; where its file is missing, the checkpoint's own, with a warning."""
    if setting in vae_paths:
        reason = Message(_("{vae}, because the web UI's {config} selects it"), vae=setting, config=WEB_UI_CONFIG_NAME)
        return VaeChoice(vae_paths[setting], reason)
    if setting == NONE:
        template = _("the checkpoint's own, because the web UI's {config} selects None")
        return VaeChoice(None, Message(template, config=WEB_UI_CONFIG_NAME))
    reason = Message(
        _("the checkpoint's own, because the VAE that the web UI's {config} selects is missing"),
        config=WEB_UI_CONFIG_NAME,
    )
    warning = Message(
        _(
            "the web UI's {config} selects the VAE {vae}, which is in none of the folders, so the checkpoint's own is"
            " used"
        ),
        config=WEB_UI_CONFIG_NAME,
        vae=setting,
    )
    return VaeChoice(None, reason, (warning,))


def _choose_by_model_json(
    checkpoint_path: Path, vae_paths: dict[str, Path]
) -> tuple[VaeChoice | None, tuple[Message, ...]]:
    """The VAE that "vae" in `<stem>.json` beside the checkpoint selects, where it does; a warning where it is missing.

    The web UI saves there what a person sets for a single checkpoint.
    """
    file_name = f"{get_stem(checkpoint_path)}.json"
    setting = read_json(checkpoint_path.parent / file_name).get("vae")
    if setting == NONE:
        template = _("the checkpoint's own, because {file} beside the checkpoint selects None")
        return VaeChoice(None, Message(template, file=file_name)), ()
    if isinstance(setting, str) and setting in vae_paths:
        template = _("{vae}, because {file} beside the checkpoint selects it")
        return VaeChoice(vae_paths[setting], Message(template, vae=setting, file=file_name)), ()
    if isinstance(setting, str) and setting not in ("", AUTOMATIC):
        template = _("{file} beside the checkpoint selects the VAE {vae}, which is in none of the folders")
        return None, (Message(template, file=file_name, vae=setting),)
    return None, ()


def _choose_by_name_prefix(checkpoint_path: Path, vae_paths: dict[str, Path]) -> VaeChoice | None:
    """The first listed VAE whose name begins with the checkpoint's stem, in whichever folder; None without one.

    A warning where the name is not the checkpoint's own, since the VAE may be meant for another model.
    """
    model_stem = get_stem(checkpoint_path)
    matches = [name for name, path in vae_paths.items() if name.startswith(model_stem) and may_be_vae(path)]
    if not matches or checkpoint_path == MODEL_PATH:
        return None
    name, path = matches[0], vae_paths[matches[0]]
    exact_names = {model_stem + suffix for suffix in (*_VAE_SIDECAR_SUFFIXES, *_VAE_SUFFIXES)}
    if name in exact_names and path.parent == checkpoint_path.parent:
        return VaeChoice(path, Message(_("{vae}, because it is beside the checkpoint and has its name"), vae=name))
    if name in exact_names:
        template = _("{vae}, because it is in {folder} and has the checkpoint's name")
        return VaeChoice(path, Message(template, vae=name, folder=path.parent))
    template = _("{vae}, because its name begins with that of the checkpoint ({checkpoint})")
    reason = Message(template, vae=name, checkpoint=model_stem)
    exact_match = next((match for match in matches if match in exact_names), None)
    if exact_match:
        template = _(
            "the VAE {vae} is used because its name begins with {checkpoint}, as in web UIs; it may be meant for"
            " another model: choose {exact_match} as the VAE to use the one with exactly the checkpoint's name"
        )
        warning = Message(template, vae=path, checkpoint=model_stem, exact_match=exact_match)
    else:
        template = _(
            "the VAE {vae} is used because its name begins with {checkpoint}, as in web UIs; it may be meant for"
            " another model: choose None as the VAE to use the checkpoint's own"
        )
        warning = Message(template, vae=path, checkpoint=model_stem)
    return VaeChoice(path, reason, (warning,))


def may_be_vae(path: Path) -> bool:
    """Whether a file is not clearly something else, such as a LoRA, a hypernetwork or a whole checkpoint.

    A file that cannot be read may be a VAE: a person put it there, and loading it will say what is wrong with it.
    """
    try:
        tensor_names = weight_files.read_tensor_names(path) or list(weight_files.read_weight_file(path).tensors)
    except TetradError:
        return True
    return is_vae(tensor_names)


def is_vae(tensor_names: Sequence[str]) -> bool:
    """Whether these are the tensors of a VAE alone, and not of a checkpoint with a VAE inside."""
    return identify(tensor_names) in ("vae", UNKNOWN) and bool(vae.find_vae_keys(tensor_names)[0])

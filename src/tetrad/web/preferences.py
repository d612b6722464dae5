"""What a person has set on the page, kept in the state folder: models added by path, VAEs by model, language, theme."""

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tetrad.documents import parse_json, read_text_file
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import replace_file
from tetrad.locales import _


@dataclass(frozen=True)
class MountedVae:
    """The VAE that a person chose for a model: a file, or "None" for the model's own."""

    vae: str
    trains: bool = False  # whether the model is trained on its latents, too


@dataclass(frozen=True)
class Values:
    """Everything that is stored."""

    models: tuple[str, ...] = ()  # paths of checkpoints outside the page's folders
    vaes: Mapping[str, MountedVae] = field(default_factory=dict)  # by the path of the model, or "builtin"
    language: str = ""  # "": that of the browser
    theme: str = ""  # "": that of the system


class Preferences:
    """Reads the file once and writes it as a whole after each change.  May be used by several threads."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.Lock()
        self.values = _read(file)

    def change(self, **values: Any) -> Values:
        """Set some of the values.  E4202 where they cannot be stored; they are then unchanged."""
        with self._lock:
            return self._store(replace(self.values, **values))

    def add_model(self, path: str) -> None:
        with self._lock:
            self._store(replace(self.values, models=tuple(dict.fromkeys((*self.values.models, path)))))

    def remove_model(self, path: str) -> None:
        """Forget a model; its file stays."""
        with self._lock:
            self._store(replace(self.values, models=tuple(each for each in self.values.models if each != path)))

    def mount(self, model: str, mounted: MountedVae | None) -> None:
        """Use a VAE with a model from now on; None: choose it by the rules again."""
        with self._lock:
            others = {path: each for path, each in self.values.vaes.items() if path != model}
            self._store(replace(self.values, vaes=others | ({model: mounted} if mounted else {})))

    def generation_vae(self, model: str) -> str:
        """The VAE that a person chose to generate with a model; "" for none."""
        mounted = self.values.vaes.get(model)
        return mounted.vae if mounted else ""

    def training_vae(self, model: str) -> str:
        """The VAE that a person chose to train a model with; "" for none."""
        mounted = self.values.vaes.get(model)
        return mounted.vae if mounted and mounted.trains else ""

    def _store(self, values: Values) -> Values:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.file, json.dumps(asdict(values), ensure_ascii=False, indent=2).encode())
        except OSError as error:
            template = _("{folder} cannot be written to ({reason}); check the folder's permissions")
            raise TetradError("E4202", template, folder=self.file.parent, reason=error.strerror) from error
        self.values = values
        return values


def _read(file: Path) -> Values:
    """What the file says; the defaults for anything in it that cannot be read."""
    try:
        record = parse_json(read_text_file(file))
    except (OSError, ValueError):
        return Values()
    if not isinstance(record, Mapping):
        return Values()
    models, vaes = record.get("models"), record.get("vaes")
    return Values(
        models=tuple(each for each in models if isinstance(each, str)) if isinstance(models, list) else (),
        vaes=dict(_read_vaes(vaes)) if isinstance(vaes, Mapping) else {},
        language=str(record.get("language", "")),
        theme=str(record.get("theme", "")),
    )


def _read_vaes(vaes: Mapping[str, Any]) -> Mapping[str, MountedVae]:
    return {
        model: MountedVae(each["vae"], bool(each.get("trains")))
        for model, each in vaes.items()
        if isinstance(each, Mapping) and isinstance(each.get("vae"), str)
    }

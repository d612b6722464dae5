"""Which programs load an embedding: A1111's textual_inversion.py, ComfyUI's sd1_clip.py, kohya's scripts, diffusers."""

from collections.abc import Iterator

from tetrad.formats.weight_files import WeightFile
from tetrad.locales import Message, _
from tetrad.methods.textual_inversion.settings import WEB_UI, XL
from tetrad.verification.loras import make_verdict
from tetrad.verification.result import READERS, Verdict

_SEVERAL = _("it refuses a file with several embeddings ({names})")


def has_several(file: WeightFile) -> bool:
    """Whether a file of the web UI has vectors for several words."""
    return sum(name.startswith(WEB_UI) for name in file.tensors) > 1


def judge_embedding(file: WeightFile, entry_count: int) -> Iterator[Verdict]:
    """A verdict for each program.  `entry_count` is the number of entries of a pickle's dict, or of tensors."""
    names = list(file.tensors)
    web_ui_names = [name for name in names if name.startswith(WEB_UI)]
    if web_ui_names:
        yield from _judge_web_ui_file(file, web_ui_names)
    elif names and set(names) >= XL:
        yield from _judge_xl_file(names)
    else:
        yield from _judge_plain_file(file, names, entry_count)


def _judge_web_ui_file(file: WeightFile, names: list[str]) -> Iterator[Verdict]:
    """`string_to_param` holds the vectors by word."""
    ignored = tuple(name for name in file.tensors if name != names[0])
    if len(names) > 1:
        yield Verdict("A1111", "no", Message(_SEVERAL, names=_list_words(names)))
    elif file.tensors[names[0]].ndim != 2:
        yield Verdict("A1111", "no", Message(_("it needs one row per vector in string_to_param")))
    else:
        yield make_verdict("A1111", (), len(names))
    for reader in ("ComfyUI", "kohya"):
        yield make_verdict(reader, ignored, len(file.tensors))
    if f"{WEB_UI}*" not in names or not file.metadata.get("name"):
        template = _("it needs the vectors under the word * and an entry 'name' in a file of the web UI")
        yield Verdict("diffusers", "no", Message(template))
    else:
        yield make_verdict("diffusers", ignored, len(file.tensors))


def _judge_xl_file(names: list[str]) -> Iterator[Verdict]:
    """`clip_l` and `clip_g` hold the vectors of the two text encoders."""
    ignored = tuple(name for name in names if name not in XL)
    for reader in ("A1111", "ComfyUI", "kohya"):
        yield make_verdict(reader, ignored, len(names))
    template = _(
        "it takes each tensor by itself: load_textual_inversion(tensors['clip_l'], token=…) and the same with"
        " tensors['clip_g'] and the second text encoder and tokenizer"
    )
    yield Verdict("diffusers", "loads", Message(template), ignored)


def _judge_plain_file(file: WeightFile, names: list[str], entry_count: int) -> Iterator[Verdict]:
    """One tensor with any name, as kohya and diffusers write it; of several tensors programs take the first or none."""
    first = names[0]
    for reader in READERS:
        takes_first = reader in ("ComfyUI", "kohya")
        if entry_count > 1 and not takes_first:
            template = _("it needs a file with a single entry, but this one has {count} ({names})")
            names_shown = ", ".join([*names, *file.metadata][:3])
            yield Verdict(reader, "no", Message(template, count=entry_count, names=names_shown))
        elif file.tensors[first].ndim == 1 and reader == "ComfyUI":
            yield Verdict(reader, "no", Message(_("it needs one row per vector, but this file has a single row")))
        else:
            yield make_verdict(reader, tuple(names[1:]), len(names))


def _list_words(names: list[str]) -> str:
    return ", ".join(name.removeprefix(WEB_UI) for name in names[:3])

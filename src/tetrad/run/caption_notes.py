"""Warnings about the captions of a run: the trigger word, placeholders that are trained as text, truncation."""

from collections.abc import Iterator, Sequence

from tetrad.data.captions.captions import find_placeholder
from tetrad.data.captions.templates import find_line_without_name, find_unknown_text
from tetrad.data.dataset import Photo, exclude_class_images
from tetrad.errors import TetradError
from tetrad.locales import Message, _, ngettext
from tetrad.methods.trigger_word import advise_on_trigger_word
from tetrad.models.base import Model
from tetrad.models.clip import CHUNK_LENGTH, TextEncoding, count_truncated_tokens, find_truncated_words
from tetrad.run.events import Note, make_note
from tetrad.run.plan import DataPlan, Plan


def trigger_word_notes(data: DataPlan, photos: Sequence[Photo]) -> Iterator[Note]:
    """Warnings about the trigger word, or about each one where the dataset has several."""
    words = [data.trigger_word] if data.trigger_word else sorted({photo.subset.trigger_word for photo in photos} - {""})
    if not words:
        yield Note(
            Message(_("no trigger word is given (--trigger-word), so every generated image will show what is trained"))
        )
    for number, word in enumerate(words):
        advice = advise_on_trigger_word(word, words[:number])
        yield from (make_note(warning, code) for code, warning in advice.warnings)
    if words and (line := find_line_without_name(data.captions.template, words[0])):
        template = _("the template line '{line}' has no [name], so captions made from it do not contain {word}")
        yield Note(Message(template, line=line, word=words[0]), "W3141")
    yield from placeholder_notes(data, photos)


def placeholder_notes(data: DataPlan, photos: Sequence[Photo]) -> Iterator[Note]:
    """A warning for square brackets in a template that are no placeholder, and for placeholders outside templates."""
    for text, line in find_unknown_text(data.captions.template).items():
        template = _(
            "{text} in the template line '{line}' is not a placeholder, so it is trained as text; the placeholders are"
            " [name] and [filewords]"
        )
        yield Note(Message(template, text=text, line=line), "W3142")
    own = exclude_class_images(photos)
    places = {
        "data.captions.prefix": data.captions.prefix,
        "data.captions.suffix": data.captions.suffix,
        **{photo.path.name: photo.captions.raw_text for photo in own},
    }
    found = {place: text for place, content in places.items() if (text := find_placeholder(content))}
    if found:
        template = ngettext(
            "{text} in {place} is trained as text, because placeholders are filled only in data.captions.template",
            "{text} in {place} and {others} more is trained as text, because placeholders are filled only in"
            " data.captions.template",
            len(found),
        )
        place, text = next(iter(found.items()))
        yield Note(Message(template, text=text, place=place, others=len(found) - 1), "W3142")


def check_truncated_captions(plan: Plan, model: Model, photos: Sequence[Photo]) -> Iterator[Note]:
    """A warning for each caption that is truncated.

    E3113 where the vectors of a new word fit into none of the captions.
    """
    limit, words = plan.text.max_tokens, model.text_encoders[0].added_tokens
    encoding = TextEncoding(plan.text.clip_skip, limit // CHUNK_LENGTH)
    truncated_words = [find_truncated_words(photo.captions.longest_caption, encoding, words) for photo in photos]
    if truncated_words and all(truncated_words):
        word = truncated_words[0][0]
        template = ngettext(
            "no caption has room for {word}: its {count} vector does not fit into the {limit} tokens of a caption; use "
            "fewer with --vectors, set text.max_tokens=225, or shorten the captions",
            "no caption has room for {word}: its {count} vectors do not fit into the {limit} tokens of a caption; use "
            "fewer with --vectors, set text.max_tokens=225, or shorten the captions",
            len(words[word]),
        )
        raise TetradError("E3113", template, word=word, limit=limit)
    for photo, lost_words in zip(photos, truncated_words, strict=True):
        lost_count = count_truncated_tokens(photo.captions.longest_caption, encoding, words)
        if lost_count and lost_words:
            template = ngettext(
                "the caption of {file} is truncated to {limit} tokens, which removes {count} token and the trigger word"
                " {word}, so this image does not train it; text.max_tokens=225 allows longer captions",
                "the caption of {file} is truncated to {limit} tokens, which removes {count} tokens and the trigger"
                " word {word}, so this image does not train it; text.max_tokens=225 allows longer captions",
                lost_count,
            )
            yield Note(Message(template, file=photo.path.name, limit=limit, word=lost_words[0]), "W4153")
        elif lost_count:
            template = ngettext(
                "the caption of {file} is truncated to {limit} tokens, which removes {count} token; text.max_tokens=225"
                " allows longer captions",
                "the caption of {file} is truncated to {limit} tokens, which removes {count} tokens;"
                " text.max_tokens=225 allows longer captions",
                lost_count,
            )
            yield Note(Message(template, file=photo.path.name, limit=limit), "W4153")

"""Checks trigger words and suggests better ones: a good one is a word that the model does not know."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice, permutations

from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.models.clip import CHUNK_LENGTH
from tetrad.models.tokenizer import encode_token_ids, load_tokenizer

_PROMPT_PUNCTUATION = set('()[]{}<>|:,\\"\n\t')  # what prompt syntax uses
_VOWELS = set("aeiouy")
_CONSONANTS = "bcdfghjkmnpqrstvwxz"
# CLIP's merges are sorted by frequency: a token with a higher id than this is rare.
_COMMON_TOKEN_LIMIT = 40_000
_SUGGESTION_COUNT = 3


@dataclass(frozen=True)
class _TriggerWordAdvice:
    """Warnings about a trigger word, each a code and a sentence, and better words."""

    warnings: tuple[tuple[str, Message], ...]
    suggestions: tuple[str, ...]


def advise_on_trigger_word(trigger_word: str, other_words: Collection[str] = ()) -> _TriggerWordAdvice:
    """Warnings where a trigger word already means something to the model or clashes with `other_words`.

    Those are trained already, like loaded embeddings. Raises E3112 where no prompt can contain the word.
    """
    check_trigger_word(trigger_word)
    suggestions = tuple(islice(suggest_words(trigger_word, other_words), _SUGGESTION_COUNT))
    warnings = (*_vocabulary_warnings(trigger_word, suggestions), *_clash_warnings(trigger_word, other_words))
    return _TriggerWordAdvice(warnings, suggestions if warnings else ())


def check_trigger_word(trigger_word: str) -> None:
    """E3112 where a prompt cannot contain the word."""
    if forbidden := _PROMPT_PUNCTUATION & set(trigger_word):
        raise TetradError(
            "E3112",
            _(
                "the trigger word '{word}' contains '{character}', which has a special meaning in prompts; use letters"
                " and digits, like zkr"
            ),
            word=trigger_word,
            character=min(forbidden),
        )
    if not trigger_word or trigger_word != trigger_word.strip() or len(encode_token_ids(trigger_word)) > CHUNK_LENGTH:
        raise TetradError(
            "E3112", _("'{word}' cannot be a trigger word; use a few letters, like zkr"), word=trigger_word
        )


def _vocabulary_warnings(trigger_word: str, suggestions: Collection[str]) -> Iterator[tuple[str, Message]]:
    """A warning where the word, or a part of it that means something, is in the model's vocabulary."""
    parts = _split_into_tokens(trigger_word)
    common_parts = [part for part in parts if _is_common(part, min_length=3 if " " in trigger_word else 4)]
    values = {"word": trigger_word, "suggestions": ", ".join(suggestions)}
    if len(parts) == 1 and _is_common(parts[0], min_length=3):
        template = _(
            "{word} is an ordinary word, so every prompt that contains it will show what you train; use a rare word"
            " instead, like {suggestions}"
        )
        yield "W3111", Message(template, **values)
    elif len(parts) == 1:
        template = _(
            "{word} is a token of the model's own, so it already means something to the model; use a rare word"
            " instead, like {suggestions}"
        )
        yield "W3112", Message(template, **values)
    elif common_parts:
        template = _(
            "the model splits '{word}' into {parts}, and it knows '{known}'; use a rare word instead, like"
            " {suggestions}"
        )
        yield "W3113", Message(template, **values, parts=" + ".join(map(repr, parts)), known=common_parts[0])


def _clash_warnings(trigger_word: str, other_words: Collection[str]) -> Iterator[tuple[str, Message]]:
    """A warning for each other word that has the same tokens, is a part of this one, or contains it."""
    for other in other_words:
        if other.lower() == trigger_word.lower() or encode_token_ids(other) == encode_token_ids(trigger_word):
            template = _(
                "{word} has the same tokens as {other}, which is trained already; give one of the two another name"
            )
            yield "W3114", Message(template, word=trigger_word, other=other)
        elif _is_part_of(encode_token_ids(other), encode_token_ids(trigger_word)):
            template = _(
                "{word} contains {other}, which is trained already; a prompt with {word} may show both; give one of the"
                " two another name"
            )
            yield "W3115", Message(template, word=trigger_word, other=other)
        elif _is_part_of(encode_token_ids(trigger_word), encode_token_ids(other)):
            template = _(
                "{word} is a part of {other}, which is trained already; a prompt with {other} may show both; give one"
                " of the two another name"
            )
            yield "W3115", Message(template, word=trigger_word, other=other)


def _is_part_of(part: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    return any(whole[start : start + len(part)] == part for start in range(len(whole) - len(part) + 1))


def _split_into_tokens(word: str) -> list[str]:
    """The word's tokens as text."""
    tokens = load_tokenizer().convert_ids_to_tokens(list(encode_token_ids(word)))
    return [piece.removesuffix("</w>") for piece in tokens]


def _is_common(token: str, min_length: int) -> bool:
    """Whether a token is long enough to be a word, has a vowel and is frequent."""
    token_id = load_tokenizer().convert_tokens_to_ids(token + "</w>")
    is_frequent = token_id != load_tokenizer().unk_token_id and token_id < _COMMON_TOKEN_LIMIT
    return is_frequent and len(token) >= min_length and token.isalpha() and bool(_VOWELS & set(token))


def is_rare(word: str) -> bool:
    """Whether the word is split into several tokens of one or two letters, which mean nothing."""
    parts = _split_into_tokens(word)
    return len(parts) > 1 and all(len(part) <= 2 for part in parts)


def suggest_words(word: str, other_words: Collection[str] = ()) -> Iterator[str]:
    """Rare words with the same first consonant, always in the same order."""
    first = next((letter for letter in word.lower() if letter in _CONSONANTS), "z")
    spellings = (first + second + third for second, third in permutations(_CONSONANTS.replace(first, ""), 2))
    used_token_ids = {encode_token_ids(other) for other in (*other_words, word)}

    def sort_key(spelling: str) -> str:
        return hashlib.sha256(f"{word.lower()} {spelling}".encode()).hexdigest()

    for spelling in sorted(spellings, key=sort_key):
        if is_rare(spelling) and encode_token_ids(spelling) not in used_token_ids:
            yield spelling

"""What makes a good trigger word: one that the model does not know, so that it can only mean what is taught."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice, permutations

from tetrad.errors import TetradError
from tetrad.models.text import CHUNK, token_ids, tokenizer

PUNCTUATION = set('()[]{}<>|:,\\"\n\t')  # what prompts use for other things
VOWELS = set("aeiouy")
CONSONANTS = "bcdfghjkmnpqrstvwxz"
COMMON = 40_000  # CLIP's merges are in the order of how often a word was seen; ids past this are of rare ones
SUGGESTED = 3


@dataclass(frozen=True)
class Advice:
    """What to say of a word, each a code and a sentence, and words that would do better."""

    warnings: tuple[tuple[str, str], ...]
    suggestions: tuple[str, ...]


def check_word(word: str, others: Collection[str] = ()) -> Advice:
    """Whether a trigger word is fit to be one; `others` are words that are taught already, like loaded embeddings.

    Raises E3112 where no prompt could hold it.
    """
    check_spelling(word)
    better = tuple(islice(suggestions(word, others), SUGGESTED))
    would = f"a rare one like {', '.join(better[:-1])} or {better[-1]} can only mean what you teach"
    warnings = [*(known(word, would)), *(clashes(word, others))]
    return Advice(tuple(warnings), better if warnings else ())


def check_spelling(word: str) -> None:
    """E3112 where a prompt cannot hold the word."""
    if bad := PUNCTUATION & set(word):
        raise TetradError("E3112", f"the word {word!r} has {min(bad)!r} in it, which means something else in a prompt")
    if not word or word != word.strip() or len(token_ids(word)) > CHUNK:
        raise TetradError("E3112", f"{word!r} is no trigger word; a few letters are best, like zkr")


def known(word: str, advice: str) -> Iterator[tuple[str, str]]:
    """A warning where the word, or a part of it that means something, is in the model's vocabulary."""
    parts = pieces(word)
    if len(parts) == 1 and is_common(parts[0], shortest=3):
        yield "W3111", f"{word} is an ordinary word, so every prompt that has it will show what you teach; {advice}"
    elif len(parts) == 1:
        yield "W3112", f"{word} is one of the model's own tokens, so it means something to it already; {advice}"
    elif meaningful := [part for part in parts if is_common(part, shortest=3 if " " in word else 4)]:
        yield "W3113", f"the model reads {word} as {' + '.join(parts)} and knows {meaningful[0]}; {advice}"


def clashes(word: str, others: Collection[str]) -> Iterator[tuple[str, str]]:
    """A warning for each other word that has the same tokens, or is a part of this one, or has it as a part."""
    for other in others:
        if other.lower() == word.lower() or token_ids(other) == token_ids(word):
            yield (
                "W3114",
                f"{word} is read just like {other}, which is taught already; give one of the two another name",
            )
        elif within(token_ids(other), token_ids(word)):
            yield "W3115", f"{word} has {other} in it, which is taught already; a prompt with {word} may show both"
        elif within(token_ids(word), token_ids(other)):
            yield "W3115", f"{word} is a part of {other}, which is taught already; a prompt with {other} may show both"


def within(part: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    return any(whole[start : start + len(part)] == part for start in range(len(whole) - len(part) + 1))


def pieces(word: str) -> list[str]:
    """The word as the model's tokenizer cuts it up."""
    found = tokenizer().convert_ids_to_tokens(list(token_ids(word)))
    return [piece.removesuffix("</w>") for piece in found]


def is_common(piece: str, shortest: int) -> bool:
    """Whether a piece that the tokenizer knows is as long as a word, can be spoken and is seen often."""
    number = tokenizer().convert_tokens_to_ids(piece + "</w>")
    whole = number != tokenizer().unk_token_id and number < COMMON
    return whole and len(piece) >= shortest and piece.isalpha() and bool(VOWELS & set(piece))


def is_rare(word: str) -> bool:
    """Whether the model has to spell the word, in pieces of one or two letters that mean nothing."""
    parts = pieces(word)
    return len(parts) > 1 and all(len(part) <= 2 for part in parts)


def suggestions(word: str, others: Collection[str] = ()) -> Iterator[str]:
    """Rare words that begin as this one does, always in the same order; each is checked to be rare."""
    first = next((letter for letter in word.lower() if letter in CONSONANTS), "z")
    spellings = (first + second + third for second, third in permutations(CONSONANTS.replace(first, ""), 2))
    taken = {token_ids(other) for other in (*others, word)}

    def order(spelling: str) -> str:
        return hashlib.sha256(f"{word.lower()} {spelling}".encode()).hexdigest()

    for spelling in sorted(spellings, key=order):
        if is_rare(spelling) and token_ids(spelling) not in taken:
            yield spelling

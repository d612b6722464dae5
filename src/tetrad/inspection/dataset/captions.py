"""What the captions of a data set are like: coverage, trigger word, length, tags and language."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from tetrad.data.captions.captions import contains_word
from tetrad.data.dataset import Photo, has_own_text
from tetrad.inspection.dataset.report import CaptionReport, TagCount
from tetrad.models.tokenizer import CONTEXT_LENGTH, clean_text, encode_token_ids

MAX_TOKENS = CONTEXT_LENGTH - 2  # without start and end token
_COMMON_SHARE, _MIN_TAGGED = 0.8, 4  # of the captions, and how many of them there are at least
_MIN_SCRIPT_SHARE = 0.3  # of a caption's letters
_LISTED_TAGS = 200
# Scripts as they begin the names of their letters in Unicode; kana say Japanese even among Chinese characters.
_SCRIPTS = {
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "CJK": "Chinese",
    "HANGUL": "Korean",
    "CYRILLIC": "Cyrillic",
    "ARABIC": "Arabic",
    "THAI": "Thai",
    "DEVANAGARI": "Hindi",
    "HEBREW": "Hebrew",
    "GREEK": "Greek",
}


def count_tokens(caption: str) -> int:
    """The tokens of a caption, without start and end token."""
    return len(encode_token_ids(caption))


def report_captions(
    photos: Sequence[Photo], files: Mapping[int, str], tokens: Sequence[int], trigger_word: str
) -> CaptionReport:
    """The captions of photos that are no class images; `files` has their names, `tokens` the tokens of each caption."""
    own = {index: photo for index, photo in enumerate(photos) if has_own_text(photo)}
    languages = {index: detect_language(photo.captions.raw_text) for index, photo in own.items()}
    tags = count_tags(own.values())
    kept = [trigger_word, *{photo.subset.class_word for photo in photos}]
    lasting = [
        each.tag
        for each in tags
        if len(own) >= _MIN_TAGGED
        and each.images >= _COMMON_SHARE * len(own)
        and not any(word and contains_word(each.tag, word) for word in kept)
    ]
    without = [index for index, photo in own.items() if not contains_word(photo.captions.raw_text, trigger_word)]
    return CaptionReport(
        own=len(own),
        sources=dict(Counter(photo.caption_source for photo in photos).most_common()),
        missing=tuple(files[index] for index in range(len(photos)) if index not in own),
        trigger_word=trigger_word,
        without_trigger_word=tuple(files[index] for index in without),
        mean_tokens=round(sum(tokens) / len(tokens), 1) if tokens else 0.0,
        max_tokens=max(tokens, default=0),
        token_counts=count_token_classes(tokens),
        too_long=tuple(files[index] for index, number in enumerate(tokens) if number > MAX_TOKENS),
        tags=tuple(tags[:_LISTED_TAGS]),
        common_tags=tuple(lasting),
        languages=dict(Counter(languages.values()).most_common()),
        not_english=tuple(files[index] for index, language in languages.items() if language != "Latin"),
    )


def count_tags(photos: Iterable[Photo]) -> list[TagCount]:
    """How many captions have each tag, the most frequent first; upper and lower case are one tag."""
    counts: Counter[str] = Counter()
    for photo in photos:
        counts.update({tag.lower() for tag in photo.captions.tags})
    return [TagCount(*each) for each in sorted(counts.items(), key=lambda each: (-each[1], each[0]))]


def count_token_classes(tokens: Sequence[int]) -> dict[str, int]:
    """How many captions have up to a quarter, a half, three quarters and all of the tokens that are read, and more."""
    limits = [round(MAX_TOKENS * part / 4) for part in range(5)]
    counts = {f"{low + 1}–{high}": sum(low < number <= high for number in tokens) for low, high in pairwise(limits)}
    return counts | {f"> {MAX_TOKENS}": sum(number > MAX_TOKENS for number in tokens)}


def detect_language(caption: str) -> str:
    """ "Latin", or the language or script that a good part of a caption's letters is of."""
    counts: Counter[str] = Counter()
    for letter in clean_text(caption):
        if unicodedata.category(letter)[0] == "L":
            counts[_SCRIPTS.get(unicodedata.name(letter, "").partition(" ")[0], "Latin")] += 1
    total = sum(counts.values())
    if counts["Japanese"] and counts["Japanese"] + counts["Chinese"] >= _MIN_SCRIPT_SHARE * total:
        return "Japanese"
    found = [name for name, number in counts.most_common() if name != "Latin" and number >= _MIN_SCRIPT_SHARE * total]
    return found[0] if found else "Latin"

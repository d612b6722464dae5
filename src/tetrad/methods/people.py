"""Whether a word or a caption is about a person: persons are trained and checked differently from things."""

import re
from collections.abc import Sequence

_PEOPLE = re.compile(
    r"\b(?:\d+\+?)?(?:person|people|human|man|men|woman|women|boy|girl|child|children|kid|baby|toddler|teenager|adult|"
    r"face|portrait|character|actor|actress|singer|guy|lady|gentleman|bride|groom|mother|father|daughter|son|sister|"
    r"brother|wife|husband|grandmother|grandfather)s?\b"
    r"|[男女]人|[男女]孩|[男女]生|少女|少年|人物|人脸|人像|小孩|婴儿|演员|明星",
    re.IGNORECASE,
)


def is_person(text: str) -> bool:
    """Whether a class word or a caption names a person, also as a tag like 1girl."""
    return _PEOPLE.search(text) is not None


def are_of_person(captions: Sequence[str]) -> bool:
    """Whether most captions name a person."""
    return 2 * sum(map(is_person, captions)) > len(captions)

"""The network tags of a prompt (`<lora:NAME:0.8>`), and warnings about prompts that are easily misread."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tetrad.errors import TetradError
from tetrad.generation import prompt_parser
from tetrad.generation.request import Request
from tetrad.locales import Message, _
from tetrad.methods import METHODS
from tetrad.models.clip import split_into_spans

_NETWORK_PATTERN = re.compile(r"<(\w+):([^>]+)>")
ARTIFACTS = {tag: method.artifact for method in METHODS.values() for tag in method.artifact.prompt_tags}  # by tag
NETWORK_TAGS = tuple(dict.fromkeys(artifact.prompt_tags[0] for artifact in ARTIFACTS.values()))  # one for each type
_MAX_STRENGTH = 100.0
_MAX_USUAL_WEIGHT = 10.0  # a larger weight is usually a slip, such as the time in `(at 10:30)`
_FIRST_MARK = 0xF0000  # the first of the private characters that stand for network tags
_MAX_WARNING_TEXT = 40  # characters of a prompt that a warning quotes


@dataclass(frozen=True)
class NetworkTag:
    """`<lora:NAME:0.8>`, `<lora:NAME:te=0.5:unet=1>`, `<hypernet:NAME:0.6>`."""

    artifact_type: str  # "lora", "hypernetwork"
    name: str
    strength: float = 1.0  # on the U-Net
    text_encoder_strength: float = 1.0  # on the text encoders; not used by hypernetworks


@dataclass(frozen=True)
class _ParsedPrompt:
    """The prompt without its tags, brackets still in place, and the networks of the tags in their order."""

    text: str
    networks: tuple[NetworkTag, ...]


def extract_networks(prompt: str) -> _ParsedPrompt:
    """Remove comments and network tags from a prompt.  E3202 for an unknown tag, E3204 for an extreme strength."""
    prompt = prompt_parser.strip_comments(prompt)
    networks = tuple(_parse_tag(tag, arguments) for tag, arguments in _NETWORK_PATTERN.findall(prompt))
    return _ParsedPrompt(remove_networks(prompt), networks)


def remove_networks(prompt: str) -> str:
    return _NETWORK_PATTERN.sub("", prompt)


def replace_network(prompt: str, tag: str, name: str) -> str:
    """Put a name in the prompt's first tag of this type, or append a tag; the name "" removes the tag."""
    for match in _NETWORK_PATTERN.finditer(prompt):
        if ARTIFACTS.get(match[1]) is ARTIFACTS[tag]:
            _old_name, *arguments = match[2].partition(":")
            new_tag = f"<{tag}:{name}{''.join(arguments)}>" if name else ""
            return prompt[: match.start()] + new_tag + prompt[match.end() :]
    return prompt + (f" <{tag}:{name}:1>" if name else "")


def replace_strengths(prompt: str, strength: float) -> str:
    """Give every network of a prompt the same strength."""
    return _NETWORK_PATTERN.sub(lambda match: f"<{match[1]}:{match[2].partition(':')[0]}:{strength:g}>", prompt)


def prompt_warnings(request: Request) -> Iterator[Message]:
    """Sentences about parts of the prompts that may not do what their author expects."""
    negative_prompt = prompt_parser.strip_comments(request.negative_prompt)
    for match in _NETWORK_PATTERN.finditer(negative_prompt):
        if match[1] in ARTIFACTS:
            yield Message(
                _("{tag} in the negative prompt is read as plain text; write networks in the prompt"), tag=match[0]
            )
    if any(line.strip().startswith("Negative prompt:") for line in request.prompt.splitlines()):
        yield Message(
            _("'Negative prompt:' in the prompt is read as plain text; give the negative prompt with --negative-prompt")
        )
    yield from _edit_warnings(request.prompt)
    yield from _weight_warnings(request, negative_prompt)


def _edit_warnings(prompt: str) -> Iterator[Message]:
    """A sentence about each network tag inside `[from:to:when]` or `[a|b]`."""
    tags: list[str] = []

    def mark(match: re.Match[str]) -> str:
        tags.append(match[0])
        return chr(_FIRST_MARK + len(tags) - 1)

    marked_prompt = _NETWORK_PATTERN.sub(mark, prompt_parser.strip_comments(prompt))
    edited_texts = [
        prompt_parser.find_edited_text(part) for part, _weight in prompt_parser.split_subprompts(marked_prompt)
    ]
    numbers = (ord(letter) - _FIRST_MARK for letter in "".join(edited_texts))
    for tag in dict.fromkeys(tags[number] for number in sorted(numbers) if 0 <= number < len(tags)):
        yield Message(
            _(
                "{tag} is inside [from:to:when] or [a|b], but a network is used for all steps, and the strengths of one"
                " that is named twice add up; write it outside of the brackets"
            ),
            tag=tag,
        )


def _weight_warnings(request: Request, negative_prompt: str) -> Iterator[Message]:
    """Sentences about weights above MAX_USUAL_WEIGHT: of brackets, and of parts joined by AND."""
    limit = prompt_parser.MAX_WEIGHT
    parts = prompt_parser.parse_prompt(extract_networks(request.prompt).text, request.steps)
    texts = [text for part in parts for text in part.texts]
    texts += prompt_parser.parse_negative_prompt(negative_prompt, request.steps)
    spans = (span for text in dict.fromkeys(texts) for span in split_into_spans(text))
    for text, weight in {span.text.strip(): span.weight for span in spans if is_unusual(span.weight)}.items():
        yield Message(
            _(
                "'{text}' has weight {weight:g} (the maximum is {limit:g}); weights above 2 usually spoil the image;"
                " write \\( and \\) for brackets that are only text"
            ),
            text=text if len(text) <= _MAX_WARNING_TEXT else text[:_MAX_WARNING_TEXT] + "…",
            weight=weight,
            limit=limit,
        )
    for number, part in enumerate(parts, 1):
        if is_unusual(part.weight):
            yield Message(
                _(
                    "part {number} of the prompt (AND joins the parts) has weight {weight:g}; the maximum is {limit:g},"
                    " and weights above 2 usually spoil the image"
                ),
                number=number,
                weight=part.weight,
                limit=limit,
            )


def is_unusual(weight: float) -> bool:
    return abs(weight) > _MAX_USUAL_WEIGHT


def _parse_tag(tag: str, arguments: str) -> NetworkTag:
    """Parse a tag by A1111's rules: arguments with one `=` are named, the others are positional.

    The positional arguments are the name, the strength on the text encoder and that on the U-Net, which is the same if
    not given.
    """
    tag_text = f"<{tag}:{arguments}>"
    if tag not in ARTIFACTS:
        examples = ", ".join(f"<{each}:NAME:0.8>" for each in NETWORK_TAGS)
        raise TetradError(
            "E3202", _("{tag} is not a network tag; the network tags are {examples}"), tag=tag_text, examples=examples
        )
    parts = [part.strip() for part in arguments.split(":")]
    named = dict(part.split("=") for part in parts if part.count("=") == 1)
    positional = [part for part in parts if part.count("=") != 1]
    strength_parts = ARTIFACTS[tag].strength_parts
    too_many = len(positional) > 1 + max(1, len(strength_parts))
    if not positional or not positional[0] or too_many or named.keys() - set(strength_parts):
        if strength_parts:
            template = _("{tag} cannot be read; write <{type}:NAME:0.8> or <{type}:NAME:te=0.5:unet=1>")
        else:
            template = _("{tag} cannot be read; write <{type}:NAME:0.8>")
        raise TetradError("E3202", template, tag=tag_text, type=tag)
    positional += [""] * (3 - len(positional))
    text_encoder_strength = _parse_strength(tag_text, named.get("te", positional[1]) or "1")
    unet_text = named.get("unet", positional[2])
    unet_strength = _parse_strength(tag_text, unet_text) if unet_text else text_encoder_strength
    return NetworkTag(ARTIFACTS[tag].type, positional[0], unet_strength, text_encoder_strength)


def _parse_strength(tag_text: str, text: str) -> float:
    try:
        strength = float(text)
    except ValueError:
        strength = math.nan
    if not math.isfinite(strength):
        raise TetradError(
            "E3202", _("{tag}: '{text}' is not a number; write a strength such as 0.8"), tag=tag_text, text=text
        )
    if abs(strength) > _MAX_STRENGTH:
        raise TetradError(
            "E3204",
            _("{tag}: the strength must be from -{limit:g} to {limit:g}, not {text}; 0.5 to 1.2 is typical"),
            tag=tag_text,
            limit=_MAX_STRENGTH,
            text=text,
        )
    return strength

"""Texts get the tokens that A1111 and kohya give them: those of transformers' slow tokenizer with ftfy."""

import time
from itertools import pairwise

import ftfy
import pytest
import regex

from tetrad.models.clip import COMMA_TOKEN_ID, PromptSpan, split_into_chunks
from tetrad.models.tokenizer import clean_text, encode_token_ids, load_tokenizer

_WORD = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+", regex.IGNORECASE)


def slow_token_ids(text: str) -> tuple[int, ...]:
    """The rule of the slow tokenizer: ftfy, single spaces, lower case, then byte pairs word by word."""
    state = load_tokenizer().get_vocab()
    letters = sorted(state, key=lambda token: state[token])[:256]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    byte_letters = dict(zip(printable + sorted(set(range(256)) - set(printable)), letters, strict=True))
    ids = []
    for word in _WORD.findall(" ".join(ftfy.fix_text(text).split()).lower()):
        parts = [byte_letters[byte] for byte in word.encode()]
        parts[-1] += "</w>"
        while len(parts) > 1:  # the merge of lowest rank first; merged tokens are in the order of the merges
            pairs = {state[a + b]: (a, b) for a, b in pairwise(parts) if a + b in state}
            if not pairs:
                break
            first, second = pairs[min(pairs)]
            merged, index = [], 0
            while index < len(parts):
                fits = parts[index : index + 2] == [first, second]
                merged.append(first + second if fits else parts[index])
                index += 2 if fits else 1
            parts = merged
        ids += [state[part] for part in parts]
    return tuple(ids)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("一个女孩，红色头发，（微笑：１．２），杰作", "一个女孩,红色头发,(微笑:1.2),杰作"),
        ("“a cat’s tail”", '"a cat\'s tail"'),
        ("ﬁne ﬂowers, ﬀ", "fine flowers, ff"),
        ("salt &amp; pepper, &eacute;clair", "salt & pepper, éclair"),
        ("cafe\u0301", "café"),
        ("cafÃ©", "café"),
        ("ｚｋｒ　ｄｏｇ！", "zkr dog!"),
        ("ﾈｺ", "ネコ"),
        ("cat\r\ndog\x07", "cat\ndog"),
        ("a photo of a cat, (best quality)", "a photo of a cat, (best quality)"),
    ],
)
def test_a_text_has_the_tokens_of_the_slow_tokenizer(text: str, plain: str) -> None:
    assert clean_text(text) == plain
    assert encode_token_ids(text) == slow_token_ids(text) == encode_token_ids(plain)
    assert [token for chunk in split_into_chunks(text, {}) for token, _weight in chunk] == list(slow_token_ids(text))


@pytest.mark.parametrize(
    "text",
    [
        "a photo of <|endoftext|> cat <|startoftext|>",
        "it's we'll I'd they've 1234 ②½ xⅣ 🐱🏽 \u200d a_b-c... ¡¿ e\u0301 ΑΒΓ привет ไทย हिन्दी",
        "  tabs\tand\u3000spaces  ",
        "SHOUTING İstanbul ẞ ǅ",
        "\ufffd\x00\ud800".encode("utf-8", "replace").decode(),
        "",
    ],
)
def test_a_text_has_the_tokens_of_transformers(text: str) -> None:
    theirs = load_tokenizer()(clean_text(text), add_special_tokens=False, verbose=False).input_ids
    assert list(encode_token_ids(text)) == theirs


def test_a_trigger_word_is_found_in_any_spelling_that_has_its_tokens() -> None:
    word = {"zkr": range(49408, 49409), "café": range(49409, 49410)}
    assert split_into_chunks("ｚｋｒ，cafe\u0301", word) == [[(49408, 1.0), (COMMA_TOKEN_ID, 1.0), (49409, 1.0)]]


def test_the_comma_rule_knows_the_comma_of_chinese() -> None:
    chunks = split_into_chunks((PromptSpan("a " * 60 + "，" + " a" * 15),), {}, backtrack=20)
    assert [len(chunk) for chunk in chunks] == [61, 15]


def test_entities_inside_entities_take_no_minutes() -> None:
    start = time.process_time()
    assert len(clean_text("a &" + "amp;" * 20_000 + "lt; b")) < 100
    assert time.process_time() - start < 2

"""A1111's prompt syntax, against tables written by hand from its published rules.

In the tables a text has weight 1, a pair is a text and its weight, and BREAK starts a new chunk.
"""

import time
from typing import Any

import pytest

from tetrad.generation import prompt_parser
from tetrad.models.clip import PromptSpan, split_into_chunks

BREAK = object()
UP, DOWN = 1.1, 1 / 1.1

ATTENTION: list[tuple[str, list[Any]]] = [
    ("", [""]),
    ("a cat", ["a cat"]),
    ("(cat)", [("cat", UP)]),
    ("[cat]", [("cat", DOWN)]),
    ("(cat:1.5)", [("cat", 1.5)]),
    ("((cat))", [("cat", UP * UP)]),
    ("(((cat)))", [("cat", UP**3)]),
    ("[[cat]]", [("cat", DOWN * DOWN)]),
    ("([cat])", ["cat"]),  # 1.1 / 1.1
    ("a (red) cat", ["a ", ("red", UP), " cat"]),
    ("a (red:0.5) cat", ["a ", ("red", 0.5), " cat"]),
    ("((red:1.2) cat)", [("red", 1.2 * UP), (" cat", UP)]),
    ("((red:1.2) cat:0.5)", [("red", 0.6), (" cat", 0.5)]),
    ("(a (b (c)))", [("a ", UP), ("b ", UP**2), ("c", UP**3)]),
    ("(red:0)", [("red", 0.0)]),
    ("(red:-1)", [("red", -1.0)]),
    ("(red:+1.3)", [("red", 1.3)]),
    ("(red:.5)", [("red", 0.5)]),
    ("(red:2.)", [("red", 2.0)]),
    ("(red : 1.2)", [("red ", 1.2)]),
    ("(red:1.2 )", [("red", 1.2)]),
    ("(red:\n1.2)", [("red", 1.2)]),
    ("(red:1)", ["red"]),
    # What is not a weight is text.
    ("(red:heavy)", [("red:heavy", UP)]),
    ("(red:1.2.3)", [("red:1.2.3", UP)]),
    ("(red:1e3)", [("red:1e3", UP)]),
    ("(a:b:1.2)", [("a:b", 1.2)]),
    ("(at 10:30)", [("at 10", 30.0)]),
    ("red:1.2", ["red:1.2"]),
    ("[red:1.2]", [("red:1.2", DOWN)]),  # without prompt editing, which would read this as a schedule
    ("a: b", ["a: b"]),
    # Escapes.
    (r"\(cat\)", ["(cat)"]),
    (r"\[cat\]", ["[cat]"]),
    (r"(cat \(pet\):1.2)", [("cat (pet)", 1.2)]),
    (r"(\(cat)", [("(cat", UP)]),
    (r"a \\ b", ["a \\ b"]),
    (r"\\(cat)", ["\\", ("cat", UP)]),
    (r"a\b", ["ab"]),  # a lone backslash vanishes
    ("a\\", ["a"]),
    (r"(cat\)", [("cat)", UP)]),
    # Brackets that are never closed or never opened.
    ("(cat", [("cat", UP)]),
    ("((cat", [("cat", UP * UP)]),
    ("((cat)", [("cat", UP * UP)]),
    ("[cat", [("cat", DOWN)]),
    ("cat)", ["cat)"]),
    ("cat]", ["cat]"]),
    ("cat:1.2)", ["cat:1.2)"]),
    (")(", [")"]),
    ("a (b [c) d", ["a ", ("b ", UP), ("c", DOWN * UP), (" d", DOWN)]),
    ("(a [b) c]", [("a ", UP), ("b", UP * DOWN), (" c", DOWN)]),
    ("a (b", ["a ", ("b", UP)]),
    ("(", [""]),
    ("()", [""]),
    ("([)]", [""]),
    ("(cat]", [("cat]", UP)]),
    ("[cat)", [("cat)", DOWN)]),
    ("[cat:1.3)", [("cat:1.3)", DOWN)]),
    # Neighbours with equal weights are merged.
    ("(a)(b)", [("ab", UP)]),
    ("(a:1.2)(b:1.2)c", [("ab", 1.2), "c"]),
    ("a(b:1)c", ["abc"]),
    # BREAK.
    ("a BREAK b", ["a", BREAK, "b"]),
    ("a\nBREAK\nb", ["a", BREAK, "b"]),
    ("a, BREAK, b", ["a,", BREAK, ", b"]),
    ("a break b", ["a break b"]),
    ("BREAKFAST", ["BREAKFAST"]),
    ("a BREAK_b", ["a BREAK_b"]),
    ("BREAK a", [BREAK, "a"]),
    ("a BREAK", ["a", BREAK, ""]),
    ("a BREAK BREAK b", ["a", BREAK, "", BREAK, "b"]),
    ("(a) BREAK (b:1.3)", [("a", UP), BREAK, ("b", 1.3)]),
    ("(a BREAK b:1.2)", [("a", 1.2), BREAK, ("b", 1.2)]),
]

# Ten steps: (the last step of this text, the text).
EDITING: list[tuple[str, list[tuple[int, str]]]] = [
    ("a cat", [(10, "a cat")]),
    ("a [cat:dog:0.5]", [(5, "a cat"), (10, "a dog")]),
    ("a [cat:dog:3]", [(3, "a cat"), (10, "a dog")]),
    ("a [cat:dog: 3 ]", [(3, "a cat"), (10, "a dog")]),
    ("a [dog:3]", [(3, "a "), (10, "a dog")]),
    ("a [dog:.5] x", [(5, "a  x"), (10, "a dog x")]),
    ("a [cat::3]", [(3, "a cat"), (10, "a ")]),
    ("a [cat::0.25]", [(2, "a cat"), (10, "a ")]),  # 2.5 steps: the third is past it
    ("a [cat:dog:0]", [(10, "a dog")]),
    ("a [cat:dog:-2]", [(10, "a dog")]),
    ("a [cat:dog:1.0]", [(10, "a cat")]),  # with a point: all of the steps
    ("a [cat:dog:1]", [(1, "a cat"), (10, "a dog")]),  # without: the first
    ("a [cat:dog:99]", [(10, "a cat")]),
    ("[a [b:c:2]:d:6]", [(2, "a b"), (6, "a c"), (10, "d")]),
    ("[a:[b:c:6]:2]", [(2, "a"), (6, "b"), (10, "c")]),
    ("[(cat:1.2):(dog:0.8):4]", [(4, "(cat:1.2)"), (10, "(dog:0.8)")]),
    ("([cat:dog:4]:1.3)", [(4, "(cat:1.3)"), (10, "(dog:1.3)")]),
    ("[[cat]:dog:4]", [(4, "[cat]"), (10, "dog")]),
    (r"[cat\:dog:4]", [(4, ""), (10, r"cat\:dog")]),
    (r"\[cat:dog:4\]", [(10, r"\[cat:dog:4\]")]),
    # Alternation.
    ("[a|b]", [(1, "a"), (2, "b"), (3, "a"), (4, "b"), (5, "a"), (6, "b"), (7, "a"), (8, "b"), (9, "a"), (10, "b")]),
    ("[a|b|c]x", [(n, "abc"[(n - 1) % 3] + "x") for n in range(1, 11)]),
    ("[fe|]male", [(n, "female" if n % 2 else "male") for n in range(1, 11)]),
    ("[|a]", [(n, "" if n % 2 else "a") for n in range(1, 11)]),
    ("[[a|b]:c:2]", [(1, "a"), (2, "b"), (10, "c")]),
    # Brackets that are not an edit are text, and so are those around them; edits inside them still work.
    ("a [cat:dog]", [(10, "a [cat:dog]")]),
    ("a [cat:dog:soon]", [(10, "a [cat:dog:soon]")]),
    ("[a:b:c:3]", [(10, "[a:b:c:3]")]),
    ("a [cat", [(10, "a [cat")]),
    ("a [cat [dog:3]", [(3, "a [cat "), (10, "a [cat dog")]),
    ("a ] b [dog:3]", [(3, "a ] b "), (10, "a ] b dog")]),
    ("((a][:b:c [d:3]", [(3, "((a][:b:c "), (10, "((a][:b:c d")]),
    # A bar outside [a|b], or a backslash at the end: the whole text stays as it was typed.
    ("a | b [dog:3]", [(10, "a | b [dog:3]")]),
    ("(a|b) [dog:3]", [(10, "(a|b) [dog:3]")]),
    ("[a|b:3]", [(10, "[a|b:3]")]),
    ("[dog:3] \\", [(10, "[dog:3] \\")]),
]

COMPOSITION: list[tuple[str, list[tuple[str, float]]]] = [
    ("a cat", [("a cat", 1.0)]),
    ("a cat AND a dog", [("a cat", 1.0), (" a dog", 1.0)]),
    ("a cat :1.2 AND a dog:0.5", [("a cat", 1.2), (" a dog", 0.5)]),
    ("a cat AND a dog :-1", [("a cat", 1.0), (" a dog", -1.0)]),
    ("a AND b AND c : 2.2 ", [("a", 1.0), (" b", 1.0), (" c", 2.2)]),
    ("a cat :0.7", [("a cat", 0.7)]),
    ("a cat and a dog", [("a cat and a dog", 1.0)]),
    ("SAND AND DUST", [("SAND", 1.0), (" DUST", 1.0)]),
    ("(a cat:1.2) AND b", [("(a cat:1.2)", 1.0), (" b", 1.0)]),
    ("at 10:30 sharp", [("at 10:30 sharp", 1.0)]),
]

CHUNKS: list[tuple[str, list[int]]] = [
    ("a cat", [2]),
    ("", [0]),
    ("cat " * 75, [75]),
    ("cat " * 76, [75, 1]),
    ("cat " * 150, [75, 75]),
    ("(cat " * 80, [75, 5]),
    ("a BREAK b c", [1, 2]),
    ("BREAK a", [0, 1]),
    ("a BREAK", [1]),
    ("a BREAK BREAK b", [1, 0, 1]),
    ("cat " * 70 + "BREAK dog", [70, 1]),
    # The comma is token 66, so the nine words after it move to the next chunk.
    ("cat " * 65 + ", " + "dog " * 12, [66, 12]),
    # The comma is too far from the end.
    ("cat " * 40 + ", " + "dog " * 40, [75, 6]),
]


def test_the_tables_hold_at_least_eighty_cases() -> None:
    assert len(ATTENTION) + len(EDITING) + len(COMPOSITION) + len(CHUNKS) >= 80


@pytest.mark.parametrize("prompt,expected", ATTENTION)
def test_weights_of_brackets(prompt: str, expected: list[Any]) -> None:
    expected_spans, breaks = [], False
    for part in expected:
        if part is BREAK:
            breaks = True
        elif part or breaks or len(expected) == 1:
            text, weight = part if isinstance(part, tuple) else (part, 1.0)
            expected_spans.append(PromptSpan(text, pytest.approx(weight), breaks))
            breaks = False
    assert list(prompt_parser.parse_attention(prompt)) == expected_spans


@pytest.mark.parametrize("prompt,expected", EDITING)
def test_editing_and_alternation(prompt: str, expected: list[tuple[int, str]]) -> None:
    wanted: list[str] = []
    for last, text in expected:
        wanted += [text] * (last - len(wanted))
    assert list(prompt_parser.expand_edits(prompt, 10)) == wanted


@pytest.mark.parametrize("prompt,expected", COMPOSITION)
def test_prompts_joined_by_and(prompt: str, expected: list[tuple[str, float]]) -> None:
    assert list(prompt_parser.split_subprompts(prompt)) == expected


@pytest.mark.parametrize("prompt,expected", CHUNKS)
def test_chunk_lengths(prompt: str, expected: list[int]) -> None:
    assert [
        len(chunk) for chunk in split_into_chunks(prompt_parser.parse_attention(prompt), {}, backtrack=20)
    ] == expected


def test_and_edits_and_weights_combine() -> None:
    cat, dog = prompt_parser.parse_prompt("([cat:wolf:2]:1.2) :0.7 AND dog # not a comment of ours", 4)
    assert (cat.weight, dog.weight) == (0.7, 1.0)
    assert cat.texts == ((PromptSpan("cat", 1.2),),) * 2 + ((PromptSpan("wolf", 1.2),),) * 2
    assert dog.texts == ((PromptSpan(" dog"),),) * 4


def test_and_is_a_plain_word_in_a_negative_prompt() -> None:
    assert prompt_parser.parse_negative_prompt("salt AND pepper", 1) == ((PromptSpan("salt AND pepper"),),)


@pytest.mark.parametrize("bracket", [*"()[]:|", "[a:", "(a:1.9", "[a|", "\\"])
def test_five_thousand_of_any_bracket_are_parsed_quickly(bracket: str) -> None:
    start_time = time.thread_time()
    (part,) = prompt_parser.parse_prompt(bracket * 5000 + "cat", 20)
    assert len(part.texts) == 20
    assert all(abs(piece.weight) <= prompt_parser.MAX_WEIGHT for piece in part.texts[0])
    assert time.thread_time() - start_time < 5  # CPU time of this thread only


def test_a_prompt_of_thousands_of_words_is_parsed() -> None:
    (part,) = prompt_parser.parse_prompt("(cat:1.1), [dog:wolf:0.5] " * 1000, 2)
    chunks = split_into_chunks(part.texts[0], {}, backtrack=20)
    assert sum(map(len, chunks)) == 3000 and all(len(chunk) <= 75 for chunk in chunks)

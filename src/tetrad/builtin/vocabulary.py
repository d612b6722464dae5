"""The built-in model's words: subjects, styles, backgrounds, what is held out of its training, and captions."""

import hashlib
import re
from dataclasses import dataclass

_ANIMALS = """
bear bird blowfish butterfly cat-face cow-face crab deer dog-face dolphin dove dragon-face duck eagle elephant fish
fox frog goat honeybee horse-face lady-beetle lion monkey-face owl panda pig-face rabbit-face rooster shark snail
snake spider spouting-whale tiger-face turtle
"""
_PLANTS = """
blossom bouquet christmas-tree deciduous-tree ear-of-corn evergreen-tree four-leaf-clover maple-leaf mushroom
palm-tree rose sunflower tulip
"""
_FOOD = """
avocado banana beer-mug birthday-cake carrot cheese-wedge cherries cocktail-glass cookie doughnut egg eggplant
french-fries grapes green-apple hot-beverage hot-pepper kiwi-fruit lemon peach pear pizza popcorn red-apple
soft-ice-cream strawberry tangerine watermelon wine-glass
"""
_OBJECTS = """
alarm-clock anchor balloon basketball bell books candle camera crown crystal-ball door drum game-die gem-stone guitar
hammer headphone hourglass-done jack-o-lantern jeans key laptop light-bulb locked magnifying-glass-tilted-left necktie
pencil red-heart ring scissors skull soccer-ball star sunglasses t-shirt television top-hat trophy umbrella watch
wrapped-gift
"""
_PLACES = """
airplane automobile bicycle bus church cloud crescent-moon ferris-wheel fire helicopter house mosque police-car
racing-car rainbow sailboat snowflake sun tent
"""
PEOPLE = """
alien angry-face boy face-with-medical-mask ghost girl goblin grinning-face man pile-of-poo princess santa-claus
smiling-face-with-heart-eyes smiling-face-with-sunglasses woman
"""
TRAINED_SUBJECTS: tuple[str, ...] = tuple(" ".join([_ANIMALS, _PLANTS, _FOOD, _OBJECTS, _PLACES, PEOPLE]).split())

# Never shown to any part of the model, in any style: sample images train them, and the leak test prompts for them.
HELD_OUT_SUBJECTS: tuple[str, ...] = (
    "robot", "cowboy-hat-face", "clown-face", "cactus", "castle", "hamburger", "octopus", "penguin", "pineapple",
    "rocket", "snowman", "tractor", "trumpet", "unicorn",
)  # fmt: skip
SAMPLE_OBJECT = "robot"
SAMPLE_PERSON = "cowboy-hat-face"
SAMPLE_SUBJECTS = (SAMPLE_OBJECT, SAMPLE_PERSON)

# Icon set -> the word for its style. All are made from the same drawings, so that only the style differs.
ICON_SET = "fluent-emoji"
STYLE_WORDS: dict[str, str] = {
    ICON_SET: "glossy",
    "fluent-emoji-sketch": "sketch",
    "fluent-emoji-gold": "gold",
    "fluent-emoji-porcelain": "porcelain",
    "fluent-emoji-negative": "negative",
}
# Never shown either: another artist's set, used for the subject and person samples, and the style of the style samples.
HELD_OUT_DRAWING_SET = "twemoji"
SAMPLE_STYLE_SET = "fluent-emoji-jade"
TRIGGER_WORD = "zkr"  # of all sample images

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (250, 250, 250),
    "gray": (140, 140, 140),
    "black": (22, 22, 24),
    "red": (205, 40, 45),
    "orange": (245, 140, 35),
    "yellow": (250, 220, 80),
    "green": (60, 160, 75),
    "blue": (50, 100, 205),
    "purple": (125, 65, 170),
    "pink": (250, 165, 200),
    "brown": (115, 75, 45),
}

# Icon names that nobody would type in a prompt, and the words to use for them.
_SUBJECT_WORDS: dict[str, str] = {
    "automobile": "car",
    "crescent-moon": "moon",
    "deciduous-tree": "tree",
    "ear-of-corn": "corn cob",
    "face-with-medical-mask": "masked face",
    "game-die": "dice",
    "gem-stone": "diamond",
    "headphone": "headphones",
    "hot-beverage": "coffee cup",
    "hourglass-done": "hourglass",
    "jack-o-lantern": "pumpkin",
    "lady-beetle": "ladybug",
    "locked": "lock",
    "magnifying-glass-tilted-left": "magnifying glass",
    "pile-of-poo": "poo",
    "santa-claus": "santa",
    "smiling-face-with-heart-eyes": "loving face",
    "smiling-face-with-sunglasses": "cool face",
    "soft-ice-cream": "ice cream",
    "spouting-whale": "whale",
    "t-shirt": "shirt",
    "wrapped-gift": "gift",
    "cowboy-hat-face": "cowboy",
    "clown-face": "clown",
}
_NAMES_WITHOUT_ARTICLE = (
    "books", "cherries", "dice", "french fries", "grapes", "headphones", "jeans", "pancakes", "popcorn", "scissors",
    "sunglasses", "sushi",
)  # fmt: skip

# The VAE is trained on other icons too, but not on signs, variants of icons, or icons like a held-out subject.
EXCLUDED_DRAWINGS = re.compile(
    "skin-tone|^flag|keycap|o-clock|-thirty|button|arrow|square|circle|^input-|-room$|^(woman|person)-|moon|mailbox|^no-|"
    "sign$|cowboy|robot|snowman|castle|alien-monster"
)


@dataclass(frozen=True)
class SubjectStylePair:
    """One subject (icon name) in one style (icon set)."""

    subject: str
    drawing_set: str


def get_subject_words(subject: str) -> str:
    """Icon name -> words for a caption: `red-apple` -> `red apple`."""
    plain = subject.removesuffix("-face") if subject in _ANIMALS.split() else subject
    return _SUBJECT_WORDS.get(subject, plain.replace("-", " "))


def make_caption(subject: str | None, style: str | None, background: str) -> str:
    """A caption like `a red apple, gold style, on a blue background`; None leaves out the subject or the style."""
    parts = [add_article(subject) if subject else "", f"{style} style" if style else ""]
    parts.append(f"on {add_article(background)} background")
    return ", ".join(part for part in parts if part)


def add_article(name: str) -> str:
    """`apple` -> `an apple`; plural names get no article."""
    if name in _NAMES_WITHOUT_ARTICLE:
        return name
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def get_restyled_pairs(subject: str) -> dict[str, SubjectStylePair]:
    """For each redrawn style, the pair that shows how a sample subject should look in it."""
    styles = (style for style in STYLE_WORDS.values() if style != STYLE_WORDS[ICON_SET])
    return {style: SubjectStylePair(subject, f"{HELD_OUT_DRAWING_SET}-{style}") for style in styles}


def _is_left_out(pair: SubjectStylePair) -> bool:
    """Whether a pair of a trained subject and a trained style is not trained: about one in six, by a fixed hash."""
    digest = hashlib.sha256(f"{pair.subject}/{pair.drawing_set}".encode()).digest()
    return digest[0] < 40


def list_all_pairs() -> tuple[SubjectStylePair, ...]:
    """Every trained subject in every trained style, including left-out pairs."""
    return tuple(SubjectStylePair(subject, drawing_set) for drawing_set in STYLE_WORDS for subject in TRAINED_SUBJECTS)


def list_trained_pairs() -> tuple[SubjectStylePair, ...]:
    """The pairs that the diffusion model is trained on."""
    return tuple(pair for pair in list_all_pairs() if not _is_left_out(pair))


def list_left_out_pairs() -> tuple[SubjectStylePair, ...]:
    """The pairs that test whether the model can combine a known subject with a known style."""
    return tuple(pair for pair in list_all_pairs() if _is_left_out(pair))

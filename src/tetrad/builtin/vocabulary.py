"""The words of the built-in model: subjects, styles, backgrounds, what is left out of training, and captions."""

import hashlib
import re
from dataclasses import dataclass

ANIMALS = """
bear bird blowfish butterfly cat-face cow-face crab deer dog-face dolphin dove dragon-face duck eagle elephant fish
fox frog goat honeybee horse-face lady-beetle lion monkey-face owl panda pig-face rabbit-face rooster shark snail
snake spider spouting-whale tiger-face turtle
"""
PLANTS = """
blossom bouquet christmas-tree deciduous-tree ear-of-corn evergreen-tree four-leaf-clover maple-leaf mushroom
palm-tree rose sunflower tulip
"""
FOOD = """
avocado banana beer-mug birthday-cake carrot cheese-wedge cherries cocktail-glass cookie doughnut egg eggplant
french-fries grapes green-apple hot-beverage hot-pepper kiwi-fruit lemon peach pear pizza popcorn red-apple
soft-ice-cream strawberry tangerine watermelon wine-glass
"""
OBJECTS = """
alarm-clock anchor balloon basketball bell books candle camera crown crystal-ball door drum game-die gem-stone guitar
hammer headphone hourglass-done jack-o-lantern jeans key laptop light-bulb locked magnifying-glass-tilted-left necktie
pencil red-heart ring scissors skull soccer-ball star sunglasses t-shirt television top-hat trophy umbrella watch
wrapped-gift
"""
PLACES = """
airplane automobile bicycle bus church cloud crescent-moon ferris-wheel fire helicopter house mosque police-car
racing-car rainbow sailboat snowflake sun tent
"""
PEOPLE = """
alien angry-face boy face-with-medical-mask ghost girl goblin grinning-face man pile-of-poo princess santa-claus
smiling-face-with-heart-eyes smiling-face-with-sunglasses woman
"""
TRAINED: tuple[str, ...] = tuple(" ".join([ANIMALS, PLANTS, FOOD, OBJECTS, PLACES, PEOPLE]).split())

# Never shown to any part of the model, in any style: they are what the samples teach and what tests for leaks ask for.
HELD_OUT: tuple[str, ...] = (
    "robot", "cowboy-hat-face", "clown-face", "cactus", "castle", "hamburger", "octopus", "penguin", "pineapple",
    "rocket", "snowman", "tractor", "trumpet", "unicorn",
)  # fmt: skip
SUBJECT_SAMPLE = "robot"
PERSON_SAMPLE = "cowboy-hat-face"
SAMPLES = (SUBJECT_SAMPLE, PERSON_SAMPLE)

# Set of drawings -> the word for its style. All are by one hand: only the style tells them apart, not what was drawn.
ICON_SET = "fluent-emoji"
STYLES: dict[str, str] = {
    ICON_SET: "glossy",
    "fluent-emoji-sketch": "sketch",
    "fluent-emoji-gold": "gold",
    "fluent-emoji-porcelain": "porcelain",
    "fluent-emoji-negative": "negative",
}
# Never shown either: another hand's drawings, which the subject and person samples are, and those of the style samples.
HELD_OUT_SET = "twemoji"
STYLE_SAMPLE = "fluent-emoji-jade"
TRIGGER = "zkr"  # the word of all samples

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

# Icon names that no person would type, and the words for them.
WORDS: dict[str, str] = {
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
WITHOUT_ARTICLE = (
    "books", "cherries", "dice", "french fries", "grapes", "headphones", "jeans", "pancakes", "popcorn", "scissors",
    "sunglasses", "sushi",
)  # fmt: skip

# The autoencoder also sees other drawings, but no signs, no copies, and nothing that looks like a held-out subject.
NOT_A_PICTURE = re.compile(
    "skin-tone|^flag|keycap|o-clock|-thirty|button|arrow|square|circle|^input-|-room$|^(woman|person)-|moon|mailbox|^no-|"
    "sign$|cowboy|robot|snowman|castle|alien-monster"
)


@dataclass(frozen=True)
class Pair:
    """One subject (icon name) in one style (set of drawings)."""

    subject: str
    drawing_set: str


def words(subject: str) -> str:
    """Icon name -> the words of a caption: `red-apple` -> `red apple`."""
    plain = subject.removesuffix("-face") if subject in ANIMALS.split() else subject
    return WORDS.get(subject, plain.replace("-", " "))


def caption(subject: str | None, style: str | None, background: str) -> str:
    """Words -> `a red apple, gold style, on a blue background`; what is None is not named."""
    parts = [with_article(subject) if subject else "", f"{style} style" if style else ""]
    parts.append(f"on {with_article(background)} background")
    return ", ".join(part for part in parts if part)


def with_article(name: str) -> str:
    """`apple` -> `an apple`; names in the plural stay as they are."""
    if name in WITHOUT_ARTICLE:
        return name
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def restyled(subject: str) -> dict[str, Pair]:
    """The drawing that a sample set teaches, as it should look in the styles that are made of an icon set."""
    made = (style for style in STYLES.values() if style != STYLES[ICON_SET])
    return {style: Pair(subject, f"{HELD_OUT_SET}-{style}") for style in made}


def is_left_out(pair: Pair) -> bool:
    """Whether a pair is kept from training though both its words are trained: about one in six, by a fixed hash."""
    digest = hashlib.sha256(f"{pair.subject}/{pair.drawing_set}".encode()).digest()
    return digest[0] < 40


def all_pairs() -> tuple[Pair, ...]:
    """Every trained subject in every trained style, left-out pairs too."""
    return tuple(Pair(subject, drawing_set) for drawing_set in STYLES for subject in TRAINED)


def trained_pairs() -> tuple[Pair, ...]:
    """The pairs that the diffusion model is shown."""
    return tuple(pair for pair in all_pairs() if not is_left_out(pair))


def left_out_pairs() -> tuple[Pair, ...]:
    """The pairs that test whether the model can put a known subject into a known style."""
    return tuple(pair for pair in all_pairs() if is_left_out(pair))

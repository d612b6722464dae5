"""Captions for training, worded as people word prompts: `a photo of a red apple`, `1 cat, gold`, `house on blue`.

The program's own captions (`make_caption`) stay the most frequent ones, so that evaluation prompts keep their meaning.
An image in the glossy style, which looks as things usually do, is often captioned without a style, and any other image
hardly ever: so a prompt without a style gives a glossy image.
"""

from random import Random

from tetrad.builtin.vocabulary import BACKGROUNDS, ICON_SET, STYLE_WORDS, add_article, make_caption

PLAIN_STYLE = STYLE_WORDS[ICON_SET]
PLAIN_BACKGROUND = "white"  # what a wording means that says none
EMPTY, NO_SUBJECT, CANONICAL = 0.1, 0.04, 0.36  # shares of captions; the rest is worded freely
NO_STYLE = {True: 0.6, False: 0.02}  # of the captions with a subject: for the plain style, for any other
NO_BACKGROUND = 0.3  # of the free captions

# Words of the vocabulary -> other words for the same thing. No word here is also the name of something else.
OTHER_WORDS: dict[str, tuple[str, ...]] = {
    "airplane": ("plane", "jet", "aeroplane"),
    "alarm clock": ("clock",),
    "angry face": ("angry emoji", "mad face"),
    "beer mug": ("beer", "mug of beer", "pint of beer"),
    "bicycle": ("bike",),
    "birthday cake": ("cake", "cake with candles"),
    "blossom": ("yellow flower",),
    "blowfish": ("pufferfish", "puffer fish"),
    "books": ("stack of books", "pile of books"),
    "bouquet": ("bunch of flowers", "flowers"),
    "boy": ("little boy", "male child"),
    "bus": ("city bus",),
    "car": ("automobile", "motor car"),
    "cat": ("kitten", "kitty", "cat face"),
    "cheese wedge": ("cheese", "piece of cheese", "slice of cheese"),
    "christmas tree": ("decorated tree", "xmas tree"),
    "cocktail glass": ("cocktail", "martini"),
    "coffee cup": ("cup of coffee", "coffee", "cup of tea", "tea"),
    "cookie": ("biscuit", "chocolate chip cookie"),
    "corn cob": ("corn", "ear of corn", "sweetcorn"),
    "cow": ("cow face",),
    "crystal ball": ("magic ball",),
    "deer": ("stag",),
    "diamond": ("gem", "gemstone", "jewel"),
    "dice": ("die", "game die"),
    "dog": ("puppy", "doggy", "dog face"),
    "doughnut": ("donut",),
    "dove": ("white dove", "pigeon"),
    "eggplant": ("aubergine",),
    "evergreen tree": ("pine tree", "fir tree", "conifer"),
    "fire": ("flame", "flames"),
    "four leaf clover": ("clover", "lucky clover"),
    "french fries": ("fries", "chips"),
    "gift": ("present", "gift box"),
    "girl": ("little girl", "female child"),
    "grapes": ("bunch of grapes",),
    "grinning face": ("smiley", "smiling emoji", "happy face"),
    "guitar": ("acoustic guitar",),
    "headphones": ("headset",),
    "helicopter": ("chopper",),
    "honeybee": ("bee", "honey bee"),
    "horse": ("pony", "horse face"),
    "hot pepper": ("chili", "chili pepper"),
    "hourglass": ("sand clock", "sand timer"),
    "house": ("home", "cottage"),
    "ice cream": ("soft ice cream", "ice cream cone"),
    "jeans": ("pants", "trousers"),
    "kiwi fruit": ("kiwi",),
    "ladybug": ("ladybird",),
    "laptop": ("notebook computer", "laptop computer"),
    "light bulb": ("lightbulb", "bulb", "lamp"),
    "lock": ("padlock",),
    "loving face": ("face in love", "heart eyes"),
    "magnifying glass": ("magnifier", "loupe"),
    "man": ("guy",),
    "maple leaf": ("autumn leaf", "red leaf"),
    "monkey": ("monkey face", "ape"),
    "moon": ("crescent moon", "half moon"),
    "mushroom": ("toadstool", "fly agaric"),
    "necktie": ("tie", "shirt with tie"),
    "palm tree": ("palm", "coconut palm"),
    "panda": ("panda bear",),
    "pencil": ("yellow pencil",),
    "pig": ("piglet", "pig face"),
    "pizza": ("slice of pizza", "pizza slice"),
    "poo": ("poop", "pile of poo"),
    "pumpkin": ("jack o lantern", "halloween pumpkin"),
    "rabbit": ("bunny", "hare", "rabbit face"),
    "racing car": ("race car", "formula one car"),
    "red heart": ("heart",),
    "ring": ("diamond ring", "wedding ring"),
    "rooster": ("cockerel",),
    "rose": ("red rose",),
    "sailboat": ("sailing boat", "boat", "yacht"),
    "santa": ("santa claus", "father christmas"),
    "shirt": ("t shirt", "tee shirt"),
    "skull": ("human skull",),
    "snake": ("serpent",),
    "soccer ball": ("football", "soccer"),
    "star": ("yellow star",),
    "sun": ("sunshine",),
    "tangerine": ("mandarin", "orange fruit"),
    "television": ("tv", "tv set"),
    "tiger": ("tiger face",),
    "top hat": ("black hat", "magician hat"),
    "tree": ("leafy tree", "green tree"),
    "trophy": ("gold cup", "winner cup"),
    "turtle": ("tortoise",),
    "watch": ("wristwatch", "wrist watch"),
    "watermelon": ("slice of watermelon",),
    "wine glass": ("glass of wine", "red wine", "wine"),
    "woman": ("lady",),
}  # fmt: skip
STYLE_FORMS: dict[str, tuple[str, ...]] = {
    "glossy": ("glossy style", "glossy", "shiny", "in glossy style"),
    "sketch": ("sketch style", "sketch", "pencil sketch", "in sketch style"),
    "gold": ("gold style", "gold", "golden", "in gold", "made of gold"),
    "porcelain": ("porcelain style", "porcelain", "in porcelain", "made of porcelain"),
    "negative": ("negative style", "negative", "inverted colors", "in negative style"),
}
STYLE_ADJECTIVES = {"glossy": ("glossy", "shiny"), "gold": ("gold", "golden"), "porcelain": ("porcelain",)}
STYLE_NOUNS = {"sketch": ("a sketch of", "a pencil sketch of"), "negative": ("a negative of",)}
PREFIXES = (
    *("a photo of", "a picture of", "an image of", "a drawing of", "an icon of", "an emoji of", "a cartoon of"),
    *("photo of", "picture of", "emoji of"),
)  # fmt: skip
BACKGROUND_FORMS = (
    *("on a {} background", "on {}", "on a plain {} background", "with a {} background", "{} background"),
    *("against a {} background", "in front of {}"),
)  # fmt: skip
PLURALS = ("chips", "flames", "flowers", "fries", "heart eyes", "pants", "trousers")  # of OTHER_WORDS
OTHER_COLOURS = {"gray": ("grey",), "purple": ("violet",)}
# What the model cannot show, and what says nothing about the image.
ADJECTIVES = ("cute", "small", "little", "big", "beautiful", "cool", "nice", "old", "happy", "bright", *BACKGROUNDS)
ENDINGS = ("please", "high quality", "best quality", "masterpiece", "highly detailed", "4k", "simple", "centered")


def sample_caption(pieces: dict[str, str], rng: Random) -> str:
    """A caption of an image with this subject, style and background, in one of many wordings, or ""."""
    u = rng.random()
    if u < EMPTY:
        return ""
    if u < EMPTY + NO_SUBJECT:
        return make_caption(None, pieces["style"], pieces["background"])
    style = None if rng.random() < NO_STYLE[pieces["style"] == PLAIN_STYLE] else pieces["style"]
    if u < EMPTY + NO_SUBJECT + CANONICAL:
        return make_caption(pieces["subject"], style, pieces["background"])
    background = None if rng.random() < NO_BACKGROUND else pieces["background"]
    return word_freely(pieces["subject"], style, background, rng)


def sample_wording(subject: str, style: str, background: str, rng: Random) -> tuple[str, str]:
    """An everyday wording, and the program's own caption for the same; without a background, it is white."""
    said_style = style if rng.random() < 0.5 else None
    said_background = background if rng.random() < 0.55 else None
    adjective = rng.choice(ADJECTIVES) if rng.random() < 0.15 else ""
    wording = word_freely(subject, said_style, said_background, rng, adjective)
    if rng.random() < 0.15:
        wording += f", {', '.join(rng.sample(ENDINGS, rng.choice((1, 1, 2))))}"
    return wording, make_caption(subject, said_style, said_background or PLAIN_BACKGROUND)


def word_freely(subject: str, style: str | None, background: str | None, rng: Random, adjective: str = "") -> str:
    """`a photo of a golden cat on blue`, `1 cat, gold`, `red apple`: the parts in everyday forms; None is left out."""
    name = f"{adjective} {rng.choice((subject, subject, *OTHER_WORDS.get(subject, ())))}".strip()
    prefix = rng.choice(PREFIXES) if rng.random() < 0.4 else ""
    style_part = ""
    if style and style in STYLE_ADJECTIVES and rng.random() < 0.4:
        name = f"{rng.choice(STYLE_ADJECTIVES[style])} {name}"
    elif style in STYLE_NOUNS and rng.random() < 0.4:
        prefix = rng.choice(STYLE_NOUNS[style])
    elif style:
        style_part = rng.choice(STYLE_FORMS[style])
    text = " ".join(filter(None, [prefix, _count(name, bool(prefix), rng)]))
    if background is None:
        return ", ".join(filter(None, [text, style_part]))
    colour = rng.choice((background, *OTHER_COLOURS.get(background, ())))
    place = rng.choice(BACKGROUND_FORMS).format(colour)
    place = place.replace(" a orange", " an orange")
    if style_part:
        return ", ".join([text, *((style_part, place) if rng.random() < 0.7 else (place, style_part))])
    return f"{text}{', ' if rng.random() < 0.5 or place.startswith(colour) else ' '}{place}"


def _count(name: str, follows_of: bool, rng: Random) -> str:
    """`a cat`, `cat`, `the cat`, `my cat`, `1 cat`; after `a photo of` always with an article or a number."""
    if name.endswith(PLURALS):
        return name
    others = [f"{word} {name}" for word in ("the", "the", "one", "1", "my", "this")]
    forms = [add_article(name)] * 6 + others + [name] * (0 if follows_of else 4)
    return rng.choice(forms)

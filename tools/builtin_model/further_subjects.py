"""Write the names of the further subjects, so that the program can say which words of a prompt the model knows."""

import argparse
from pathlib import Path

from artwork import list_further_pairs, load_artwork

from tetrad.builtin.known_words import FURTHER_SUBJECTS_PATH
from tetrad.builtin.vocabulary import get_subject_words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    names = sorted({get_subject_words(pair.subject) for pair in list_further_pairs(load_artwork(arguments.work))})
    FURTHER_SUBJECTS_PATH.write_text("".join(f"{name}\n" for name in names), "utf-8")
    print(f"{FURTHER_SUBJECTS_PATH}: {len(names)} names")


if __name__ == "__main__":
    main()

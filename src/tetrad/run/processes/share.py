"""How many images each process has of an update."""

from collections.abc import Iterator

from tetrad.errors import TetradError
from tetrad.locales import Message, _, ngettext
from tetrad.run.events import Note
from tetrad.run.plan import TrainPlan


def check_share(train: TrainPlan, allow_slower: bool) -> None:
    """E3191 where a process would have nothing to do."""
    images = train.batch_size * train.gradient_accumulation
    if train.processes > images and not allow_slower:
        template: str = ngettext(
            "{processes} processes cannot share an update of {count} image; raise train.batch_size or"
            " train.gradient_accumulation, use fewer processes, or train anyway with --allow-slower",
            "{processes} processes cannot share an update of {count} images; raise train.batch_size or"
            " train.gradient_accumulation, use fewer processes, or train anyway with --allow-slower",
            images,
        )
        raise TetradError("E3191", template, processes=train.processes, count=images)


def process_notes(train: TrainPlan) -> Iterator[Note]:
    """How many images an update sees, in one process and in several."""
    if train.processes > 1:
        images = train.batch_size * train.gradient_accumulation
        template: str = ngettext(
            "{processes} processes share each update: it sees {count} image, as with one process, and the steps stay",
            "{processes} processes share each update: it sees {count} images, as with one process, and the steps stay",
            images,
        )
        yield Note(Message(template, processes=train.processes))
    if train.sharding == "full":
        template = _(
            "each of {count} processes holds a part of the trained weights, gradients and optimizer state; process 0"
            " gathers the weights for previews, scores and files"
        )
        yield Note(Message(template, count=train.processes))

"""Other trainers' arithmetic: the updates of a run.  Read in the source of each trainer."""

import math


def kohya_epoch_steps(batches: int, processes: int, accumulation: int) -> int:
    """Updates in an epoch: the last one takes what is left of the batches.  train_network.py"""
    return math.ceil(batches / processes / accumulation)


def kohya_ss_steps(uses: int, batch: int, accumulation: int, epochs: int, has_class_images: bool) -> int:
    """kohya_ss' own count, which knows no buckets.  kohya_gui/lora_gui.py"""
    return math.ceil(uses / batch / accumulation * epochs * (2 if has_class_images else 1))


def kohya_ss_fine_tuning_steps(uses: int, batch: int, accumulation: int, epochs: int, flips: bool) -> int:
    """The count of its Finetuning tab, halved with flip_aug.  kohya_gui/finetune_gui.py"""
    steps = math.ceil(uses / batch / accumulation * epochs)
    return math.ceil(steps / 2) if flips else steps


def onetrainer_steps(batches: int, epochs: int, accumulation: int) -> int:
    """Accumulation goes on from epoch to epoch.  modules/util/create.py"""
    return int(batches * epochs / accumulation)


def onetrainer_warmup(given: float, steps: int, accumulation: int) -> int:
    """Above 1 a number of batches, otherwise a share of the run.  modules/util/create.py"""
    return int(given / accumulation) if given > 1 else int(given * steps)


def kohya_warmup(given: float, is_share: bool, steps: int) -> int:
    """A share of the run where the value is a float or a percentage.  library/train_util.py"""
    return int(given * steps) if is_share else int(given)

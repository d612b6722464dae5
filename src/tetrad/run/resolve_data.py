"""What a plan says of the images, from the recipe and the dataset."""

from tetrad.run.class_images import resolve_class_images
from tetrad.run.dataset import Dataset
from tetrad.run.plan import DataPlan
from tetrad.settings import Recipe


def resolve_data(recipe: Recipe, dataset: Dataset, resolution: int) -> DataPlan:
    """The images and words of a run at this resolution; words are those of the dataset where it has its own."""
    data = recipe.data
    return DataPlan(
        images=data.images,
        folders=data.folders,
        trigger_word=dataset.trigger_word,
        class_word=dataset.class_word,
        resolution=resolution,
        flip=data.flip,
        alpha_mask=data.alpha_mask,
        masks=data.masks,
        unmasked_weight=data.unmasked_weight,
        unmasked_prior_weight=data.unmasked_prior_weight,
        unmasked_probability=data.unmasked_probability,
        buckets=data.buckets,
        captions=data.captions,
        class_images=resolve_class_images(recipe, dataset, resolution),
        preserve=data.preserve,
    )

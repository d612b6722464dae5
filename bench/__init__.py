"""Benchmarks of training.

`step` compares the training loop with a bare loop on a CPU, `gpu` does so on a GPU, and `methods` trains the demo tasks
and scores them. `preservation` measures preservation without class images, and `overfitting` makes the picture of
docs/methods.md. `training_recipes` compares the ways of `recipe_rows` to train a LoRA in fewer steps, and
`recipe_report` shows the results. `large_data` puts a million rows in order and into the cache. `bare_loop` is the bare
loop, `cases` lists what is compared, and `model` writes random models for it.
"""

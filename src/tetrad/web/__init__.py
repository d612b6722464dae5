"""The web page, `tetrad web`: the same runs as on the command line, in a browser on this computer.

`app` puts the page together and `server` serves it. `access` decides who may ask, `places` which folders are shown, and
`texts` in which language. `runs` reads the folders of runs, `loss` reduces their metrics to what a plot can show,
`run_view` says in words how a run is and `run_notes` what to do then, `page_words` replaces what notes say of the
command line, and `live` sends what changes to the browser. `device` describes this computer, `checkup` says whether it
can train, `figures` formats numbers, and `starts` has the commands that the page starts. `routes` has one module for
each page with its part of the REST API.

`jobs` is the queue of commands that are started from the page. `resident` talks to the child processes that stay, and
`resident_child` is their side of it: `thumbnails` and `image_list` ask `images_child`, `planning` asks
`planning_child`, and `drawing` has its own. `data_sets` are the folders of images, `further_folders` those beside them,
with `file_names` that are safe; `uploads` puts files into them, from zip `archives` too. `image_list` says what becomes
of each image, as `scan` finds it, and crops and masks them; `left_out` are images that a person does not use, and
`refusals` files that were not taken. `caption_edits` changes captions. `drafts` are trainings that are still being
chosen; `preparation` brings one to its recipe, `imports` are other trainers' configurations, which
`configuration_child` reads as a part of `images_child`, `settings_form` has the settings that it may change, and
`model_list` the base models, for `planning_child`. `inputs` are images that are dropped to generate from, `picks` the
saves of a run to choose from, with the scores of `run_scores`, `comparison` puts methods side by side, and `web_uis`
are the folders to copy a file to; `files_child` is the part of `planning_child` that looks for files.

`file_library` knows all model files: `file_glance` shows them at once, `file_list` lists them in `planning_child`,
`inspection_child` reads one as a whole, and `file_view` says what it is. `file_work` is what a person wants to be done
with files, `file_tasks` has the commands for it, `file_checks` reads in `inspection_child` what is to be known before,
`file_jobs` says how far it is, and `file_images` shows the result beside its parents. `upload_list` says what uses the
images that were dropped, and `preferences` are what a person sets: models added by path, VAEs, language and theme.

The server only reads the folders of runs, and writes commands into their folder `control`: a run needs no server. Torch
is imported in child processes only.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(__name__, {"places": ["Places"], "server": ["serve"]})

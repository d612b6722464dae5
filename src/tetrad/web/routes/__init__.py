"""The pages, one module each: its HTML, its part of the REST API, and its place in the navigation.

`home` is the first page with the list of runs, `run_page` the page of a run, and `job_page` that of a job which waits.
`drafts` has the four steps of New training; `draft_images`, `draft_folders`, `draft_captions`, `draft_plan` and
`draft_known` are the parts of their API. `imports` opens recipes and other trainers' configurations. `generate` is the
page that generates images, with `history` of them; `pick` compares the saves of a run and `compare` the methods;
`copies` copies files to web UIs. `queue` has the jobs in their order, `library` every model file and the images that
were dropped; `files` merges, converts and verifies them, `file_jobs` shows what came of it, and `installs` copies them
to web UIs. `vae` has the VAEs, and `settings` what a person sets. `live_data` is the stream of what changes,
`reference` describes the REST API, `assets` has scripts and styles, and `shared` what all pages have in common.
A new page is a module with a `router`, and an `ENTRY` if it is in the navigation; it is then listed in `MODULES`, in
the order of the navigation.
"""

from tetrad.web.routes import (
    assets,
    compare,
    copies,
    draft_captions,
    draft_folders,
    draft_images,
    draft_known,
    draft_plan,
    drafts,
    file_jobs,
    files,
    generate,
    history,
    home,
    imports,
    installs,
    job_page,
    library,
    live_data,
    pick,
    queue,
    reference,
    run_page,
    settings,
    vae,
)
from tetrad.web.routes.shared import page_values

MODULES = (
    home,
    drafts,
    draft_images,
    draft_folders,
    draft_captions,
    draft_plan,
    draft_known,
    imports,
    run_page,
    pick,
    copies,
    compare,
    generate,
    history,
    queue,
    job_page,
    library,
    files,
    file_jobs,
    installs,
    vae,
    settings,
    live_data,
    reference,
    assets,
)
__all__ = ["MODULES", "page_values"]

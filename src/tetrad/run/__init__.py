"""A training run, from a recipe to a trained file in the run's own folder.

`train` runs a recipe, and `vae_decoder` trains a VAE's decoder on `crops` of images. `training_run` is the model with
the method attached, and `updates` is its training; `decoder_run` is both for a decoder. `recovering_updates` goes on
after a step that gave NaN or ran out of memory, `recovery` is what it decides then, `rounding` says what is lost in
half precision, and `probe` whether the model predicts something else after training. `result_files` writes a trained
file whatever becomes of the run's folder. Both kinds run inside `session`, which records events, stops on request and
saves what was trained, whatever happens. `resume` goes on with an interrupted run. `watch` looks after the folder of a
running process: `heartbeat` is its sign of life and its locks, and `control` takes commands from other programs.
`status` derives a run's state from its folder, and `saving` says whether a file is being written. `resolve` turns a
recipe into a `plan`, in which every value is decided, with `resolve_data` for the images; `precision` chooses its
dtype, `resolve_memory` how many samples are computed at once, `planned_run` says what a run of it would need, and
`rehearsal` measures its first steps. `continuation` finds the file that a run continues from and writes over it if
asked to. `dataset` loads and encodes the images, `encode_only` does nothing else, `dataset_sample` loads some of many
for a plan, `image_notes` says what they are like, `caption_notes` warns about their captions, `class_images` generates
the class images for prior preservation, `preflight` says what a person should know before the first step,
`device_notes` where it computes, `effects` which settings have no effect, `timestep_image` shows the time steps that
are drawn, and `previews` generates images during the run. `minutes` says when something that is done every N minutes
is due. `judge` measures checkpoints, as `resolve_judge` has planned it, and `image_scoring` generates images to score
them by, within `time_budget`; `tensorboard` writes what the logs have got into TensorBoard's files. `step_files` are
the files that a run saves before its end, and `checkpoints` lists all that it saved. `uploads` keeps the run in
object storage. `disk` estimates the space that a run needs, `full_disk` waits where there is none, and `tidy` removes
what killed runs left behind. `base_model` finds the model that a file was trained on, and `open_model` opens it as a
run trains it. `processes` lets several processes share each update, and `own_process` starts and stops one that
trains beside this one. `events` are what a run yields, `words` says in sentences what they mean, `folder` is where it
writes, and `metadata` is what it stores in the trained file.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "base_model": ["find_base_model"],
        "checkpoints": ["Checkpoint", "artifact_of", "list_checkpoints", "read_plan"],
        "continuation": ["locate_start", "read_trigger_word"],
        "class_images": ["describe_generator"],
        "control": ["Command", "send_command"],
        "dataset": ["Dataset", "find_images", "select_training_vae"],
        "disk": ["find_existing_folder"],
        "events": [
            "Event",
            "Finished",
            "Judged",
            "Note",
            "Phase",
            "Progress",
            "Saved",
            "Scored",
            "Trained",
            "as_record",
        ],
        "folder": ["file_name"],
        "heartbeat": ["Beat", "Heartbeat", "hold_lock", "lock_folder", "read_beat", "read_start_time"],
        "minutes": ["count_timed"],
        "own_process": ["is_own_process_alive", "is_training", "start_own_process", "stop_own_process"],
        "plan": ["Plan"],
        "planned_run": ["FreshSources", "PlannedRun", "plan_run", "read_dataset"],
        "precision": ["select_training_device"],
        "device_notes": ["device_note"],
        "previews": ["make_overfit_prompts"],
        "processes.world": ["read_world"],
        "rehearsal": ["Rehearsal", "rehearse"],
        "resume.start": ["START_FILE", "read_working_folder"],
        "saving": ["is_saving"],
        "status": ["RunStatus", "find_run", "list_runs", "read_log", "read_status", "remove_run"],
        "uploads": ["finish_upload", "open_upload"],
        "vae_decoder": ["train_decoder"],
        "watch": ["Stop", "StoppedBeforeStart", "StoppedWhileGenerating", "never_stop", "stop_between_steps"],
        "words": ["SCAN_HINT", "Happening", "describe_record", "describe_scores", "read_number"],
    },
)

"""Reasons that several trainers' tables share."""

from tetrad.locales import _

SPEED = _("it changes where or how fast the run computes, not the result")
MEMORY = _("it saves memory and does not change the result")
LOGGING = _("Tetrad writes its log into the run's folder")
UPLOAD = _("Tetrad sends nothing anywhere")
SECRET = _("Tetrad sends nothing anywhere; it is a secret, so remove it before you share the file")
OTHER_FAMILY = _("it is for other model families than Stable Diffusion 1, 2 and XL")
MACHINES = _("Tetrad trains on one device")
CACHING = _("Tetrad caches latents and text encodings automatically where they do not change")
VAE_OVERFLOW = _("Tetrad switches a VAE that overflows to float32 by itself")
FAMILY = _("the model's family is read from its file")
CROP = _("images keep their shape and are cropped to the centre, so there is less variety")
NO_STATE = _("the saved state of another trainer cannot be read; continue from its weights with --continue-from")
ALWAYS_RESUMES = _("a run can always be resumed")
KEEPS_FILES = _("Tetrad always writes into the file how it was trained")
VALIDATION = _("Tetrad has no validation loss; it shows previews and an overfitting check instead")
TIMESTEPS = _("all time steps have the same probability")
MASKS = _(
    "masks beside the images are not used, so the background is trained too;"
    " transparent images are masked (data.alpha_mask)"
)

"""Check Python, PyTorch and the packages that Tetrad needs or can use."""

import platform
import shutil
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from tetrad import __version__
from tetrad.doctor.report import Check
from tetrad.locales import Message, _

_LABELS = {"python": _("Python"), "packages": _("packages"), "torch": _("PyTorch"), "extras": _("extras")}
# What optional packages are for, by the extra that installs them.
_EXTRAS = {
    "pillow-heif": ("heic", _("HEIC images of iPhones")),
    "pillow-jxl-plugin": ("jxl", _("JPEG XL images")),
    "bitsandbytes": ("bnb", _("8-bit AdamW, and frozen weights in 8 or 4 bits")),
}


def check_python() -> Check:
    """Version and width of Python."""
    values = {"version": platform.python_version(), "system": platform.platform(terse=True), "tetrad": __version__}
    found = Message(_("Tetrad {tetrad}, Python {version} on {system}"), **values)
    if sys.maxsize < 2**32:
        advice = Message(_("this is a 32-bit Python, for which there is no PyTorch; install a 64-bit one"))
        return Check("python", _LABELS["python"], "bad", found, advice)
    return Check("python", _LABELS["python"], "ok", found)


def check_packages() -> Check:
    """Whether every package that Tetrad needs is installed in a version that it works with."""
    wrong = []
    needed = [Requirement(text) for text in requires("tetrad") or ()]
    needed = [each for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    for requirement in needed:
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} -")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} ({requirement.specifier})")
    if not wrong:
        template = _("all {count} packages that Tetrad needs are there, in versions that fit")
        return Check("packages", _LABELS["packages"], "ok", Message(template, count=len(needed)))
    found_text = Message(_("missing, or in another version than needed: {packages}"), packages=", ".join(wrong))
    advice = Message(_("in Tetrad's folder, run {command}"), command="python -m pip install -c constraints.txt -e .")
    return Check("packages", _LABELS["packages"], "bad", found_text, advice)


def check_torch() -> Check:
    """Whether PyTorch can be imported, and whether it is built for the GPU of this computer."""
    try:
        torch = import_module("torch")
    except Exception as error:  # a missing library of the system raises whatever the loader does
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        found = Message(_("PyTorch cannot be imported: {reason}"), reason=reason)
        advice = Message(_("install PyTorch again as docs/platforms.md says"))
        return Check("torch", _LABELS["torch"], "bad", found, advice)
    build = (
        f"CUDA {torch.version.cuda}"
        if torch.version.cuda
        else f"ROCm {torch.version.hip}"
        if torch.version.hip
        else "Metal"
        if torch.backends.mps.is_built()
        else "CPU"
    )
    found = Message(_("PyTorch {version}, built for {build}"), version=torch.__version__, build=build)
    if build == "CPU" and shutil.which("nvidia-smi"):
        advice = Message(
            _(
                "this computer has an NVIDIA GPU, but this PyTorch cannot use it; install the one that"
                " docs/platforms.md names"
            )
        )
        return Check("torch", _LABELS["torch"], "warn", found, advice)
    return Check("torch", _LABELS["torch"], "ok", found)


def check_extras() -> Check:
    """The optional packages that are installed, and those that are not; none of them is needed."""
    there, missing = [], []
    for package, (extra, _purpose) in _EXTRAS.items():
        try:
            there.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(f"{package} [{extra}]")
    values = {"there": ", ".join(there) or "-", "missing": ", ".join(missing)}
    template = _("installed: {there}; not installed: {missing}") if missing else _("installed: {there}")
    return Check("extras", _LABELS["extras"], "ok", Message(template, **values))

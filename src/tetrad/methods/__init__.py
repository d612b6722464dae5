"""The ways to teach a model.  A new one is a file and a line here."""

from tetrad.methods.base import Method
from tetrad.methods.dreambooth import DreamBooth
from tetrad.methods.hypernetwork import Hypernetwork
from tetrad.methods.lora import Lora
from tetrad.methods.textual_inversion import TextualInversion

METHODS: dict[str, type[Method]] = {
    method.kind: method for method in (TextualInversion, Hypernetwork, Lora, DreamBooth)
}

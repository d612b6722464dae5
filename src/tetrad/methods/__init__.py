"""The ways to teach a model.  A new one is a file and a line here."""

from tetrad.methods.base import Method
<<<<<<< HEAD
from tetrad.methods.hypernetwork import Hypernetwork
=======
from tetrad.methods.dreambooth import DreamBooth
>>>>>>> a4306fd (Train the network itself: DreamBooth, without a second copy of it, written a tensor at a time)
from tetrad.methods.lora import Lora
from tetrad.methods.textual_inversion import TextualInversion

<<<<<<< HEAD
METHODS: dict[str, type[Method]] = {method.kind: method for method in (TextualInversion, Hypernetwork, Lora)}
=======
METHODS: dict[str, type[Method]] = {method.kind: method for method in (Lora, DreamBooth)}
>>>>>>> a4306fd (Train the network itself: DreamBooth, without a second copy of it, written a tensor at a time)

"""Makes `python -m tetrad` the same as `tetrad`."""

from tetrad.cli import main

main()

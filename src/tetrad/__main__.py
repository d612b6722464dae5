"""`python -m tetrad` is `tetrad`."""

from tetrad.cli import main

main()

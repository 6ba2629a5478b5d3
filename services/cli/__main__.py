"""`python -m services.cli`: where the package is not installed, as in the images."""

from services.cli import app

app(prog_name="capstone")

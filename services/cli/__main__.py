"""`python -m services.cli`: where the command is not installed, as in the images."""

from services.cli import app

app(prog_name="capstone")

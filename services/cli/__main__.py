"""`python -m services.cli`: `capstone`, where the project is not installed but copied, as in the images."""

from services.cli import app

app(prog_name="capstone")

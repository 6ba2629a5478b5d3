"""`python -m infra.space.assemble FOLDER`: the files of a Hugging Face Space, whose image is built from its own folder.

What images are made of (.dockerignore says it) as git has it, with infra/docker/Dockerfile at the root, whose defaults
are then those of the Space, and README.md with its front matter. `hf upload OWNER/NAME FOLDER . --repo-type space`
puts them there.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


def assemble(folder: Path) -> list[str]:
    """Write everything into `folder`, which is made; returns the paths. Raises FileExistsError if it is there already,
    and CalledProcessError outside of a git checkout."""
    folder.mkdir(parents=True)
    commit = _git("rev-parse", "HEAD").strip()
    for name in filter(None, _git("ls-files", "-z", "--", *_image_parts(), "LICENSE", ".dockerignore").split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copy(HERE / "README.md", folder / "README.md")
    (folder / "Dockerfile").write_text(_dockerfile(commit))
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _image_parts() -> list[str]:
    """What .dockerignore lets through."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


def _dockerfile(commit: str) -> str:
    text = (ROOT / "infra" / "docker" / "Dockerfile").read_text()
    for name, usual, here in (
        ("SERVICE", "api", "space"),
        ("WEIGHTS", "volume", "baked"),
        ("GIT_COMMIT", "unknown", commit),
    ):
        before = f"ARG {name}={usual}\n"
        assert text.count(before) == 1, f"the Dockerfile has no single {before.strip()}"
        text = text.replace(before, f"ARG {name}={here}\n")
    return text


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    print(f"{len(assemble(folder))} files in {folder}")


if __name__ == "__main__":
    main()

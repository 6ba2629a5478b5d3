"""Stage export: the trained models -> the release that ships. `python -m models.export`.

Half precision and no word embeddings: what `evaluate` then judges is the very form that is served.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.console import Console

from models.adapter import rewrite_adapter
from models.classifier.calibrate import read_thresholds
from models.classifier.save import rewrite
from models.classifier.train import MODEL
from models.errors import BadInput
from models.files import staged_folder
from models.generator.train import ADAPTER
from models.params import Params, ReleaseParams, load_params
from models.paths import CLASSIFIER, GENERATOR, MODELS, PARAMS, RELEASE
from models.progress import Steps
from models.stage import run_stage
from services.core.prompt import DEFAULT_PROMPT
from services.core.registry import resolve, verify, write_release
from services.core.release import ANSWER, KEPT, SUPPORT
from services.core.version import git_commit

MAX_BYTES = 30_000_000  # it is kept in git and fetched with every clone
REMEDY = "Train it again with `dvc repro`."


def export(params: Params, models_dir: Path, classifier: Path, generator: Path, out: Path, console: Console) -> None:
    """Write `out` with both models in float16 and release.json.

    Raises ModelProblem if a model is damaged or does not fit its base, BadInput if the release is too large to ship.
    """
    steps = Steps(console)
    with staged_folder(out) as made:
        with steps.step("export: classifier"):
            base = resolve(models_dir, "classifier-base")
            (made / "classifier").mkdir()
            rewrite(verify(classifier / MODEL, REMEDY), base, made / "classifier", torch.float16)
        with steps.step("export: adapter"):
            rewrite_adapter(verify(generator / ADAPTER, REMEDY), made / "adapter", torch.float16)
        release = write_release(
            made,
            models_dir,
            name=params.release.name,
            prompt=DEFAULT_PROMPT,
            thresholds=read_thresholds(classifier) | _thresholds(params.release),
            plan=params.release.retrieval,
            sentences=params.release.sentences,
            git_commit=git_commit(),
        )
        size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
        if size > MAX_BYTES:
            raise BadInput(
                out,
                f"the release would have {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:.0f}",
                remedy="Lower generator.lora.rank, or raise first_layer, in params.yaml.",
            )
    steps.note(f"release {release.id}: {size / 1e6:.1f} MB in {out}")


def _thresholds(given: ReleaseParams) -> dict[str, float]:
    found = {SUPPORT: given.min_support, KEPT: given.min_kept}
    return found if given.min_answerability is None else found | {ANSWER: given.min_answerability}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--params", type=Path, default=PARAMS)
    options.add_argument("--models-dir", type=Path, default=MODELS)
    options.add_argument("--classifier", type=Path, default=CLASSIFIER)
    options.add_argument("--generator", type=Path, default=GENERATOR)
    options.add_argument("--out", type=Path, default=RELEASE)
    given = options.parse_args()
    export(load_params(given.params), given.models_dir, given.classifier, given.generator, given.out, Console())


if __name__ == "__main__":
    run_stage(main)

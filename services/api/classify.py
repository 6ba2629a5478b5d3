"""The classifiers that are served, by name, and what each came from."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.api.admission import Admission
from services.api.classify_schemas import (
    ClassificationOut,
    ClassifierLineage,
    ClassifierParts,
    ClassifyOut,
)
from services.core.classifier import Classifier, ClassifierConfig, Input, open_classifier
from services.core.errors import ModelProblem, NotFound
from services.core.lineage import ClassificationLog, new_classification_id
from services.core.notes import note
from services.core.registry import MANIFEST, ModelFiles, Release, resolve, verify
from services.core.version import git_commit

SUFFICIENCY = "sufficiency"  # the classifier that tells whether a passage answers a question
_REMEDY = "Train this classifier again, or take its folder away."
_log = logging.getLogger("capstone.api")


@dataclass(frozen=True, slots=True)
class ServedClassifier:
    classifier: Classifier
    parts: ClassifierParts

    @property
    def name(self) -> str:
        return self.classifier.name


class Classifiers:
    """By name. One request is worked on at a time: two at once on two cores finish later than one after the other."""

    def __init__(self, served: Sequence[ServedClassifier], admission: Admission, log: ClassificationLog) -> None:
        self._served = {one.name: one for one in served}
        self.admission = admission
        self._log = log

    def all(self) -> list[ServedClassifier]:
        return list(self._served.values())

    def find(self, model: str) -> ServedClassifier | None:
        """By name or by id."""
        return next((one for one in self.all() if model in (one.name, one.classifier.id)), None)

    def named(self, model: str) -> ServedClassifier:
        """Raises NotFound, naming those there are."""
        found = self.find(model)
        if found is None:
            there_are = f"There are: {', '.join(self._served)}." if self._served else "None is served here."
            raise NotFound(f"There is no classifier {model!r}. {there_are}")
        return found

    def classify(
        self,
        served: ServedClassifier,
        inputs: Sequence[Input],
        stop: threading.Event,
        replay_of: str | None = None,
        key: str | None = None,
    ) -> ClassifyOut:
        """Classify, and log it; `replay_of` is the lineage id of what is to be compared with it, `key` the id of the
        key that it is done for.

        Blocks. Raises Overloaded, or ClientClosedRequest if `stop` is set while waiting.
        """
        with self.admission.slot(stop):
            results = served.classifier.classify(inputs)
        lineage = ClassifierLineage(id=new_classification_id(), **served.parts.model_dump())
        found = ClassifyOut(
            model=served.name, results=[ClassificationOut.of(result) for result in results], lineage=lineage
        )
        body = {"id": lineage.id, **found.model_dump(mode="json"), "replay_of": replay_of, "key": key}
        note(lineage_id=lineage.id)
        self._log.save(body, [{"text": text, "text_pair": pair} for text, pair in inputs])
        return found


def open_sufficiency(
    kind: str, release: Release | None, models_dir: Path, threads: int, device: str = "cpu"
) -> ServedClassifier | None:
    """The classifier of the release, or the one without weights, which no release brings; None of bases alone.

    Raises ModelProblem if it does not fit its base.
    """
    if kind == "overlap":
        return _served(open_classifier(kind, None, None, threads))
    if release is None:
        return None
    base = resolve(models_dir, "classifier-base")
    opened = open_classifier(kind, release.classifier, base, threads, device)
    return _served(opened, release.classifier, base, release)


def open_named(folder: Path, models_dir: Path, threads: int, device: str = "cpu") -> list[ServedClassifier]:
    """The classifiers in `folder`, which no release brings. Raises ModelProblem if one is changed or does not fit."""
    found = find_classifiers(folder)
    base = resolve(models_dir, "classifier-base") if found else None
    return [_served(open_classifier("transformers", files, base, threads, device), files, base) for files in found]


def require_names(served: Iterable[ServedClassifier], taken: Iterable[str]) -> None:
    """Raises ModelProblem if a name is among `taken` or used twice."""
    names = set(taken)
    for one in served:
        if one.name in names:
            raise ModelProblem(f"Two models are named {one.name!r}; {one.classifier.id} is the second one. {_REMEDY}")
        names.add(one.name)


def find_classifiers(folder: Path) -> list[ModelFiles]:
    """Verify every model folder in `folder`, in order of their names; none if `folder` is not there.

    Raises ModelProblem if one of them is changed, or is no classifier.
    """
    found = [verify(manifest.parent, _REMEDY) for manifest in sorted(folder.glob(f"[!.]*/{MANIFEST}"))]
    for files in found:
        if files.role != "classifier":
            raise ModelProblem(
                f"{files.folder / MANIFEST} describes a model for the role {files.role!r}; only classifiers may lie "
                f"in {folder}. Take it away from there."
            )
    return found


def _served(
    classifier: Classifier,
    files: ModelFiles | None = None,
    base: ModelFiles | None = None,
    release: Release | None = None,
) -> ServedClassifier:
    parts = ClassifierParts(
        release=release.id if release else None,
        classifier=classifier.id,
        classifier_base=base.id if base else None,
        data_sha256=files.training.data_sha256 if files and files.training else None,
        temperature=ClassifierConfig.read(files.folder).temperature if files else None,
        git_commit=git_commit(),
    )
    _log.info("classifier ready", extra={"fields": {"name": classifier.name, **parts.model_dump()}})
    return ServedClassifier(classifier, parts)

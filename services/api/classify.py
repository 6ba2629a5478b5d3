"""The classifiers that are served, by name, and what each came from."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.api.admission import Admission
from services.api.classify_schemas import ClassifierLineage
from services.core.classifier import Classification, Classifier, ClassifierConfig, Input, open_classifier
from services.core.errors import ModelProblem, NotFound
from services.core.registry import MANIFEST, ModelFiles, Release, resolve, verify
from services.core.version import git_commit

SUFFICIENCY = "sufficiency"  # the classifier that tells whether a passage answers a question
_REMEDY = "Train this classifier again, or take its folder away."
_log = logging.getLogger("capstone.api")


@dataclass(frozen=True, slots=True)
class ServedClassifier:
    classifier: Classifier
    lineage: ClassifierLineage

    @property
    def name(self) -> str:
        return self.classifier.name


class Classifiers:
    """By name. One request is worked on at a time: two at once on two cores finish later than one after the other."""

    def __init__(self, served: Sequence[ServedClassifier], admission: Admission) -> None:
        self._served = {one.name: one for one in served}
        self.admission = admission

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
        self, served: ServedClassifier, inputs: Sequence[Input], stop: threading.Event
    ) -> list[Classification]:
        """Blocks. Raises Overloaded, or ClientClosedRequest if `stop` is set while waiting."""
        with self.admission.slot(stop):
            return served.classifier.classify(inputs)


def open_classifiers(
    kind: str, release: Release | None, models_dir: Path, named: Path | None, taken: Iterable[str], threads: int
) -> list[ServedClassifier]:
    """The classifier of the release, or the one without weights, then those in the folder `named`.

    Raises ModelProblem if a folder is changed or does not fit its base, or a name is among `taken` or used twice.
    """
    if kind == "overlap":
        served = [_served(open_classifier(kind, None, None, threads))]
    else:
        folders = [release.classifier] if release else []
        folders += find_classifiers(named) if named else []
        base = resolve(models_dir, "classifier-base") if folders else None
        served = [_served(open_classifier(kind, files, base, threads), files, base, release) for files in folders]
    names = set(taken)
    for one in served:
        if one.name in names:
            raise ModelProblem(f"Two models are named {one.name!r}; {one.classifier.id} is the second one. {_REMEDY}")
        names.add(one.name)
        _log.info("classifier ready", extra={"fields": {"name": one.name, **one.lineage.model_dump()}})
    return served


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
    lineage = ClassifierLineage(
        id="",
        release=release.id if release and files is release.classifier else None,
        classifier=classifier.id,
        classifier_base=base.id if base else None,
        data_sha256=files.training.data_sha256 if files and files.training else None,
        temperature=ClassifierConfig.read(files.folder).temperature if files else None,
        git_commit=git_commit(),
    )
    digest = hashlib.sha256(lineage.model_dump_json(exclude={"id"}).encode()).hexdigest()
    return ServedClassifier(classifier, lineage.model_copy(update={"id": f"cls_{digest[:24]}"}))

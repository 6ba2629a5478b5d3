"""A release, and everything that answers by it, as one object: whoever holds it never sees parts of another.

Each release in memory has weights of its own, the generator's base included, because the adapter is merged into it:
about 270 MB in bfloat16 (540 MB in float32), and 45 MB (90 MB) for the classifier.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from opentelemetry.trace import Tracer

from services.api.admission import Admission
from services.api.answer import Answerer
from services.api.classify import (
    SUFFICIENCY,
    Classifiers,
    ServedClassifier,
    open_named,
    open_sufficiency,
    require_names,
)
from services.api.generate import Decoding, Finish, Generator, model_name, open_generator
from services.api.metrics import ApiMetrics
from services.api.remote import open_remote
from services.api.retrieve import Retriever
from services.api.watched import WatchedClassifier
from services.core.catalog import Catalog
from services.core.classifier import Classifier, OverlapClassifier
from services.core.encoder import Encoder
from services.core.errors import CapstoneError, GeneratorUnavailable, ModelProblem
from services.core.evidence import SUFFICIENT
from services.core.lineage import ClassificationLog
from services.core.plan import DEFAULT_PLAN
from services.core.prompt import DEFAULT_PROMPT
from services.core.registry import Release
from services.core.settings import Settings
from services.core.version import git_commit
from services.core.view import IndexView, LexicalView

_QUESTION = "When is the lamp of the mill lit?"
_SENTENCE = "The lamp of the mill is lit at dusk."
_SMOKE_TOKENS = 8


@dataclass(frozen=True)
class Served:
    """`own` is the classifier that the release brought, `classifiers` has it and those that no release brings."""

    release: Release | None
    generator: Generator
    own: Classifier | None
    classifiers: Classifiers
    retriever: Retriever
    answerer: Answerer

    @property
    def id(self) -> str | None:
        """None: the bases alone."""
        return self.release.id if self.release else None

    def close(self) -> None:
        """Give the memory of the weights back. Nobody may use it any more."""
        self.generator.close()
        if self.own is not None:
            self.own.close()


@dataclass(frozen=True)
class Shared:
    """What all releases share: none of it depends on one."""

    catalog: Catalog
    encoder: Encoder
    dense: IndexView | None
    lexical: LexicalView | None
    admission: Admission  # to the generators: one generates at a time, whatever release it is of
    reading: Admission  # of passages: it takes both cores, like generating
    classifying: Admission
    log: ClassificationLog
    metrics: ApiMetrics
    tracer: Tracer


class Loader:
    """Opens releases. Two at once are the caller's to avoid."""

    def __init__(self, settings: Settings, shared: Shared) -> None:
        """Opens the classifiers that no release brings. Raises ModelProblem if one cannot be used."""
        self._settings = settings
        self._shared = shared
        folder, models_dir, threads = settings.named_classifiers, settings.models_dir, settings.torch_threads
        self._named: Sequence[ServedClassifier] = (
            open_named(folder, models_dir, threads, settings.device) if folder else []
        )
        self._git_commit = git_commit()

    def load(self, release: Release | None) -> Served:
        """Everything that answers by `release`, or by the bases alone.

        Raises ModelProblem if its parts cannot be loaded, or do not fit what is there.
        """
        settings, shared = self._settings, self._shared
        models_dir, threads = settings.models_dir, settings.torch_threads
        sufficiency = open_sufficiency(settings.classifier, release, models_dir, threads, settings.device)
        classifiers = [self._watched(one) for one in [*([sufficiency] if sufficiency else []), *self._named]]
        adapter = release.adapter if release and settings.adapter else None
        if settings.generator == "openai":
            generator: Generator = open_remote(settings, adapter)
        else:
            generator = open_generator(settings.generator, models_dir, adapter, threads, settings.device)
        require_names(classifiers, [model_name(shared.encoder.id), model_name(generator.id)])
        by_name = Classifiers(classifiers, shared.classifying, shared.log)
        # Bases alone come without a trained one; shared words are a judge too.
        found = by_name.find(SUFFICIENCY)
        judge = found.classifier if found else OverlapClassifier()
        plan = (release.plan if release else DEFAULT_PLAN).overruled(settings)
        retriever = Retriever(shared.catalog, shared.encoder, judge, plan, shared.dense, shared.lexical)
        answerer = Answerer(
            shared.catalog,
            retriever,
            generator,
            shared.admission,
            shared.reading,
            encoder=shared.encoder,
            judge=judge,
            release=release,
            git_commit=self._git_commit,
            extractive=settings.answers == "extractive",
            metrics=shared.metrics,
            tracer=shared.tracer,
        )
        own = sufficiency.classifier if sufficiency else None
        return Served(release, generator, own, by_name, retriever, answerer)

    def _watched(self, one: ServedClassifier) -> ServedClassifier:
        metrics = self._shared.metrics
        return replace(
            one, classifier=WatchedClassifier(one.classifier, lambda texts: metrics.batch("classifier", texts))
        )

    def load_tested(self, release: Release | None) -> Served:
        """The same, and tried out. Raises ModelProblem whatever goes wrong: it is the release's fault, but where the
        generator is elsewhere and does not answer, which is GeneratorUnavailable."""
        try:
            served = self.load(release)
            try:
                smoke_test(served)
            except BaseException:
                served.close()
                raise
            return served
        except (ModelProblem, GeneratorUnavailable):
            raise
        except Exception as error:
            name = release.id if release else "The base"
            said = error.detail if isinstance(error, CapstoneError) else f"{type(error).__name__} {error}"
            raise ModelProblem(f"{name} cannot be used: {said}") from error


def smoke_test(served: Served) -> None:
    """One classification and one short generation.

    Raises ModelProblem if the first gives what is no probability, or the second no text; and whatever they raise.
    """
    sufficiency = served.classifiers.find(SUFFICIENCY)
    if sufficiency is not None:
        (result,) = sufficiency.classifier.classify([(_QUESTION, _SENTENCE)])
        if SUFFICIENT not in result.scores or not all(math.isfinite(score) for score in result.scores.values()):
            raise ModelProblem(f"The classifier {sufficiency.classifier.id} gives {result.scores}.")
    prompt = served.release.prompt if served.release else DEFAULT_PROMPT
    messages = prompt.messages(_QUESTION, [_SENTENCE], [_SENTENCE])
    pieces = list(served.generator.stream(messages, Decoding(max_tokens=_SMOKE_TOKENS), threading.Event()))
    if not any(piece.strip() for piece in pieces if not isinstance(piece, Finish)):
        raise ModelProblem(f"The generator says nothing with the adapter {served.generator.adapter}.")

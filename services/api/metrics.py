"""What the api service counts and times. Names and units are those of docs/metrics.md.

Where OpenTelemetry's conventions for generative AI have a metric, it is theirs in Prometheus' spelling, with the labels
that they require. Buckets reach from a GPU's milliseconds to the seconds of two busy cores. No label has a value that a
client can choose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from prometheus_client import Counter, Gauge, Histogram

from services.api.generate import Finish
from services.api.retrieve import Retrieved
from services.api.schemas import AnswerOut, Mode
from services.core.telemetry import Telemetry

_STAGE_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# Those that the conventions recommend, and further ones on the side of slow processors or of small models.
_FIRST_TOKEN_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120)
_PER_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
_REQUEST_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
_CITATIONS = (0, 1, 2, 3, 4, 6, 8)
_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
PROVIDER = "capstone"


@dataclass(frozen=True)
class QueueFigures:
    """What the queue `name` tells: see admission.py."""

    name: str
    wait: Histogram
    refusals: Counter

    def waited(self, seconds: float) -> None:
        self.wait.labels(self.name).observe(seconds)

    def refused(self, reason: Literal["full", "timeout"]) -> None:
        self.refusals.labels(self.name, reason).inc()


class ApiMetrics:
    """Who answers users reports here. What no user asked for (a shadow, a replay, an evaluation) is not reported."""

    def __init__(self, telemetry: Telemetry) -> None:
        seconds, histogram, counter = telemetry.seconds, telemetry.histogram, telemetry.counter
        self._stages = seconds("retrieval_stage_duration_seconds", "Stages of a search.", ("stage",), _STAGE_S)
        self._score = histogram("retrieval_top_score", "Largest cosine of a search; 0: nothing found.", (), _SHARES)
        self._sufficiency = histogram("retrieval_top_sufficiency", "Largest probability to answer.", (), _SHARES)
        self._answers = counter("answers", "Answers by who speaks in them.", ("mode",))
        self._citations = histogram("answer_citations", "Citations of an answer.", (), _CITATIONS)
        self._unverified = counter("answer_unverified_quotes", "Quotes that their page did not hold, withheld.")
        self._steps = seconds("answer_stage_duration_seconds", "Stages of an answer.", ("stage",), _STAGE_S)
        self._first_token = seconds(
            "gen_ai_server_time_to_first_token_seconds", "To the first text, waiting included.", _GEN_AI, _FIRST_TOKEN_S
        )
        self._per_token = seconds(
            "gen_ai_server_time_per_output_token_seconds", "Of tokens after the first.", _GEN_AI, _PER_TOKEN_S
        )
        self._requests = seconds(
            "gen_ai_server_request_duration_seconds",
            "Uses of the generator, waiting included.",
            (*_GEN_AI, "error_type"),
            _REQUEST_S,
        )
        self._tokens = histogram(
            "gen_ai_client_token_usage", "Tokens of a use.", (*_GEN_AI, "gen_ai_token_type"), _TOKENS
        )
        self._batches = histogram("inference_batch_size", "Texts handed to a model at once.", ("model",), _TEXTS)
        self._wait = seconds("queue_wait_seconds", "From arrival to the turn of a request.", ("queue",), _STAGE_S)
        self._refusals = counter("queue_refusals", "Requests refused for the length of a queue.", ("queue", "reason"))
        self._waiting = Gauge("queue_waiting", "Who waits now.", ("queue",), registry=telemetry.registry)
        for mode in get_args(Mode):
            self._answers.labels(mode)  # so that rates begin at 0

    def queue(self, name: str) -> QueueFigures:
        return QueueFigures(name, self._wait, self._refusals)

    def waiting(self, queue: str, read: Callable[[], int]) -> None:
        """`read` is asked at each scrape: it must answer at once."""
        self._waiting.labels(queue).set_function(read)

    def batch(self, model: Literal["encoder", "classifier"], texts: int) -> None:
        self._batches.labels(model).observe(texts)

    def searched(self, found: Retrieved) -> None:
        for stage, seconds in found.seconds.items():
            self._stages.labels(stage).observe(seconds)
        self._score.observe(max((passage.score for passage in found.passages), default=0.0))
        if found.sufficiency:
            self._sufficiency.observe(max(found.sufficiency.values()))

    def answered(self, final: AnswerOut) -> None:
        self._answers.labels(final.mode).inc()
        self._citations.observe(len(final.citations))
        for stage, ms in final.timings_ms.items():
            self._steps.labels(stage).observe(ms / 1000)

    def withheld(self, quotes: int) -> None:
        self._unverified.inc(quotes)

    def generated(
        self, model: str, error_type: str, total_s: float, first_s: float | None, finish: Finish | None
    ) -> None:
        """`error_type` is empty for what came to its end."""
        labels = ("chat", PROVIDER, model)
        self._requests.labels(*labels, error_type).observe(total_s)
        if error_type or finish is None:
            return
        self._tokens.labels(*labels, "input").observe(finish.prompt_tokens)
        self._tokens.labels(*labels, "output").observe(finish.completion_tokens)
        if first_s is not None:
            self._first_token.labels(*labels).observe(first_s)
            if finish.completion_tokens > 1:
                self._per_token.labels(*labels).observe((total_s - first_s) / (finish.completion_tokens - 1))

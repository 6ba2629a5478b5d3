"""ROUGE of many pairs, in several processes, part by part."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

from services.core.process import die_with_parent
from services.core.rouge import Rouge, Variant, score_pairs

PART_PAIRS = 250
SMALL_PAIRS = 1_000  # up to here a second process costs more time than it saves
_LOOK_EVERY_S = 0.2

Pair = tuple[str, Sequence[str]]
Scores = list[dict[str, Rouge]]


def scored_parts(
    pairs: Sequence[Pair], variants: Sequence[Variant], *, stemmer: bool, stop: threading.Event
) -> Iterator[tuple[int, Scores]]:
    """`(index of its first pair, scores)` of each part, in the order in which they are done.

    More than `SMALL_PAIRS` are spread over the processors. Ends early, with parts missing, once `stop` is set.
    """
    parts = {start: pairs[start : start + PART_PAIRS] for start in range(0, len(pairs), PART_PAIRS)}
    if len(pairs) <= SMALL_PAIRS:
        for start, part in parts.items():
            if stop.is_set():
                return
            yield start, score_pairs(part, variants, stemmer=stemmer)
        return
    # Spawned, not forked: this process has threads, and perhaps models. They die with the thread that started them.
    context = multiprocessing.get_context("spawn")
    count = min(len(os.sched_getaffinity(0)), len(parts))
    with ProcessPoolExecutor(count, context, die_with_parent, (os.getpid(),)) as pool:
        waiting: dict[Future[Scores], int] = {
            pool.submit(score_pairs, part, variants, stemmer=stemmer): start for start, part in parts.items()
        }
        try:
            while waiting and not stop.is_set():
                for future in wait(waiting, timeout=_LOOK_EVERY_S, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()
        finally:
            pool.shutdown(cancel_futures=True)

"""One training loop for both models: transformers.Trainer, made resumable, repeatable and quiet.

The order of the examples is planned in advance, for all epochs, from the seed alone. So a run that was killed goes on
with exactly the batches that were still to come, and several processes (torchrun) share out the batches one process
would take: the loss curve is the same, up to rounding.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from models.errors import BadInput
from models.files import sha256_of_json, write_json
from models.progress import Steps
from models.quiet import quiet
from models.schedule import Schedule
from services.core.encoder import cpu_has_bfloat16

Point = dict[str, float]
# Batches are cut from stretches of this many batches, sorted by length: little padding, and still a random order.
SORTED_BATCHES = 16
CURVE = "curve.json"
STATE = "trainer_state.json"  # the last file of a checkpoint to be written


@dataclass(frozen=True)
class Curve:
    """`train` has step, loss (mean since the last point) and learning_rate; `validation` has step and loss."""

    train: list[Point]
    validation: list[Point]
    best_step: int
    steps: int

    def write(self, path: Path) -> None:
        points = {"train": self.train, "validation": self.validation}
        write_json(path, {"best_step": self.best_step, "steps": self.steps, **points})


def padded(tokens: int, step: int) -> int:
    """The next multiple of `step`, so that batches have few different shapes.

    For a new shape the CPU's matrix kernels are made anew, which can take longer than the step itself.
    """
    return -(-tokens // step) * step


def planned(lengths: Sequence[int], schedule: Schedule) -> list[int]:
    """Indices of examples in the order of use; every epoch has all, but for the rest that fills no batch.

    The last steps that would not be followed by a look at the validation loss are left out. Raises ValueError if
    there are fewer examples than one batch needs.
    """
    size, count = schedule.batch_size, len(lengths)
    if count < size:
        raise ValueError(f"{count} examples do not fill a batch of {size}")
    order: list[int] = []
    for epoch in range(schedule.epochs):
        rng = random.Random(f"{schedule.seed}-{epoch}")  # noqa: S311 - an order, not a secret
        indices = list(range(count))
        rng.shuffle(indices)
        stretch = size * SORTED_BATCHES
        near = [
            i for at in range(0, count, stretch) for i in sorted(indices[at : at + stretch], key=lengths.__getitem__)
        ]
        batches = [near[at : at + size] for at in range(0, count - size + 1, size)]
        rng.shuffle(batches)
        order += [index for batch in batches for index in batch]
    steps = min(len(order) // size, schedule.max_steps or len(order))
    if steps > schedule.evaluate_every:
        steps -= steps % schedule.evaluate_every
    return order[: steps * size]


def train(
    model: Any,
    examples: Sequence[Any],
    lengths: Sequence[int],
    validation: Sequence[Any],
    collate: Callable[[list[Any]], dict[str, Any]],
    loss: Callable[[Any, torch.Tensor], torch.Tensor],
    schedule: Schedule,
    *,
    work: Path,
    identity: Mapping[str, Any],
    label: str,
    console: Console,
    log: Callable[[int, Point], None] | None = None,
    log_every: int = 10,
) -> Curve | None:
    """Train `model` in place; it ends with the weights of the lowest validation loss.

    Of several processes only the first gets the curve, and is to write the model; the others get None.

    `lengths` are the tokens of each example. `collate` makes a batch with the member `labels`, in which -100 stands
    for no target; `loss(outputs, labels)` gives the sum over all targets of a batch. `work` keeps checkpoints until
    the training ends; they are used again if `identity` (whatever the result depends on) and the schedule are the
    same. `log(step, figures)` is told every point of the curve, by the first process only.

    Raises BadInput if the sizes do not fit.
    """
    accumulation, rest = divmod(schedule.batch_size, schedule.micro_batch_size * _processes())
    if rest or not accumulation:
        raise BadInput(
            "params.yaml",
            f"{label}: batch_size {schedule.batch_size} cannot be cut into micro-batches of "
            f"{schedule.micro_batch_size} on {_processes()} processes",
            remedy="Choose a batch_size that is a multiple of micro_batch_size times the number of processes.",
        )
    order = planned(lengths, schedule)
    args = _arguments(schedule, work, accumulation, log_every, len(order) // schedule.batch_size)
    first = args.process_index == 0
    with args.main_process_first(desc="look for checkpoints"):
        if first:
            _clear_others(work, sha256_of_json([dict(identity), schedule.model_dump()]))
        checkpoint = _last_whole(work)
    if checkpoint is not None and first:
        Steps(console).note(f"  {label}: goes on from {checkpoint.name}")
    with quiet():
        trainer = Trainer(
            model=model,
            args=args,
            train_dataset=[examples[index] for index in order],
            eval_dataset=list(validation),
            data_collator=collate,
            compute_loss_func=_mean(loss),
            callbacks=[EarlyStoppingCallback(schedule.patience), *([_Shown(label, console, log)] if first else [])],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if not first:
        return None
    shutil.rmtree(work)
    return _curve(trainer.state)


def _arguments(schedule: Schedule, work: Path, accumulation: int, log_every: int, steps: int) -> TrainingArguments:
    on_cpu = not torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(work),
        use_cpu=on_cpu,
        ddp_backend=("gloo" if on_cpu else "nccl") if _processes() > 1 else None,
        ddp_find_unused_parameters=False,
        bf16=cpu_has_bfloat16() if on_cpu else torch.cuda.is_bf16_supported(),
        # All epochs are one list here, in the order that is to be kept.
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        dataloader_pin_memory=not on_cpu,
        per_device_train_batch_size=schedule.micro_batch_size,
        per_device_eval_batch_size=schedule.micro_batch_size,
        gradient_accumulation_steps=accumulation,
        learning_rate=schedule.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(schedule.warmup_share * steps)),
        weight_decay=schedule.weight_decay,
        max_grad_norm=1.0,
        seed=schedule.seed,
        eval_strategy="steps",
        eval_steps=min(schedule.evaluate_every, steps),
        save_strategy="steps",
        save_steps=min(schedule.evaluate_every, steps),
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=False,
        logging_steps=min(log_every, steps),
        prediction_loss_only=True,
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=True,
        report_to="none",
    )


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))  # set by torchrun


def _mean(loss: Callable[[Any, torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The sum over a micro-batch -> its part in the mean over the targets of the whole step."""

    def part(outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | None = None) -> torch.Tensor:
        count = num_items_in_batch if num_items_in_batch is not None else (labels != -100).sum()
        return loss(outputs, labels) / count

    return part


def _clear_others(work: Path, identity: str) -> None:
    """Throw away checkpoints of another training: other data, other parameters, another base."""
    note = work / "identity.json"
    try:
        same = json.loads(note.read_bytes()) == identity
    except (OSError, ValueError):
        same = False
    if not same:
        shutil.rmtree(work, ignore_errors=True)
        write_json(note, identity)


def _last_whole(work: Path) -> Path | None:
    """The newest checkpoint that was written to its end."""
    found = sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for path in reversed(found):
        try:
            json.loads((path / STATE).read_bytes())
        except (OSError, ValueError):
            continue
        return path
    return None


def _curve(state: Any) -> Curve:
    train = [
        {"step": point["step"], "loss": point["loss"], "learning_rate": point["learning_rate"]}
        for point in state.log_history
        if "loss" in point
    ]
    validation = [
        {"step": point["step"], "loss": point["eval_loss"]} for point in state.log_history if "eval_loss" in point
    ]
    return Curve(train, validation, int(state.best_global_step or state.global_step), int(state.global_step))


class _Shown(TrainerCallback):
    """A bar on a terminal, a line for every look at the validation loss anywhere."""

    def __init__(self, label: str, console: Console, log: Callable[[int, Point], None] | None) -> None:
        self._label, self._console, self._log = label, console, log
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"))
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, *times, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(label)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._bar.update(self._task, total=state.max_steps, completed=state.global_step)
        self._bar.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._bar.update(self._task, completed=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_: Any) -> None:
        names = {"loss": "loss", "eval_loss": "validation_loss", "learning_rate": "learning_rate"}
        point = {names[key]: float(value) for key, value in (logs or {}).items() if key in names}
        if point and self._log is not None:
            self._log(state.global_step, point)
        if "validation_loss" in point:
            where = f"step {state.global_step} of {state.max_steps}"
            Steps(self._console).note(f"  {self._label}: {where}, validation loss {point['validation_loss']:.4f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._bar.stop()

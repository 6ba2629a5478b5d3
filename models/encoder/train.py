"""Stage train_encoder: prepared pairs + MiniLM -> a LoRA adapter that finds more. `python -m models.encoder.train`.

Contrastive: a question is to be nearer to the passage that answers it than to one that retrieval found near it and to
all passages of the other questions in its batch. Vectors of two encoders cannot be compared, so the result belongs to
no release: it is committed by itself, `capstone fetch` makes the encoder of it, and `capstone reindex` brings a catalog
over. A retraining run leaves it as it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from rich.console import Console
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.util import cos_sim
from torch import Tensor, nn

from models.adapter import save_adapter
from models.classifier.data import read_examples
from models.device import device
from models.encoder.data import Triple, triples_of
from models.encoder.params import EncoderParams
from models.errors import BadInput
from models.files import staged_folder
from models.params import Params, load_params
from models.paths import ENCODER, MODELS, PARAMS, PREPARED
from models.provenance import REMEDY, read_facts, training_of
from models.quiet import quiet
from models.stage import run_stage
from models.tracking import tracked
from models.training import CURVE, train
from services.core.process import keep_large_blocks
from services.core.registry import ModelFiles, resolve

NAME = "minilm-manuals"
Features = dict[str, Tensor]


class Contrast(nn.Module):
    """The encoder and its loss, as the training loop wants them: a batch in, the mean loss over its questions out."""

    def __init__(self, encoder: SentenceTransformer, scale: float) -> None:
        super().__init__()
        self.loss: Any = MultipleNegativesRankingLoss(encoder, scale=scale, similarity_fct=cosines)

    def forward(self, features: Sequence[Features]) -> dict[str, Tensor]:
        return {"loss": self.loss(list(features), torch.empty(0))}


def cosines(ours: Tensor, theirs: Tensor) -> Tensor:
    """In float32: bfloat16 has three digits, and near passages differ in the third."""
    with torch.autocast(ours.device.type, enabled=False):
        return cos_sim(ours.float(), theirs.float())


def train_encoder(params: Params, models_dir: Path, prepared: Path, out: Path, console: Console) -> None:
    """Replace `out` by the adapter with the lowest validation loss, in half precision, its curve and its manifest.

    Raises BadInput for unusable rows or parameters, ModelProblem for an unusable base.
    """
    base, facts, own = resolve(models_dir, "encoder"), read_facts(prepared), params.encoder
    splits = {}
    for name in ("train", "validation"):
        path = prepared / f"pairs.{name}.jsonl"
        splits[name] = triples_of(read_examples(path, REMEDY))
        if not splits[name]:
            raise BadInput(path, "no question has a passage that answers it and one that does not", remedy=REMEDY)
    keep_large_blocks()  # takes 12 GB then, and half the time
    torch.manual_seed(own.training.seed)  # the adapter starts from random numbers
    with quiet():
        encoder = SentenceTransformer(str(base.folder), device=device(), local_files_only=True)
        adapted = with_new_adapter(own, base, encoder)
    section = own.model_dump(mode="json")
    identity = {"base": base.id, "data": facts.data_sha256}
    with tracked("train_encoder", section, identity) as run:
        curve = train(
            Contrast(encoder, own.scale),
            splits["train"],
            [len(triple.answers) for triple in splits["train"]],
            splits["validation"],
            lambda triples: collate(encoder, triples),
            loss_sum,
            own.training,
            work=out.with_name(out.name + ".work"),
            identity={**identity, "section": section},
            label="encoder",
            console=console,
            log=run.log,
        )
        if curve is None:
            return  # another process writes
        metrics = {"validation_loss": min(point["loss"] for point in curve.validation)}
        run.summary({"examples": len(splits["train"]), **metrics})
    with staged_folder(out) as made:
        curve.write(made / CURVE)
        save_adapter(made, adapted.half(), NAME, training_of(base.id, facts.data_sha256, section, metrics))


def with_new_adapter(params: EncoderParams, base: ModelFiles, encoder: SentenceTransformer) -> PeftModel:
    """Put an adapter that changes nothing yet (B is 0) into `encoder`. Raises BadInput if it has no such layers."""
    lora = LoraConfig(r=params.lora.rank, lora_alpha=params.lora.alpha, target_modules=list(params.lora.targets))
    transformer: Any = encoder[0]
    try:
        adapted: PeftModel = get_peft_model(transformer.auto_model, lora)
    except ValueError as error:
        raise BadInput(
            "params.yaml",
            f"encoder.lora.targets do not fit {base.id} ({error})",
            remedy="Name linear layers of the base: query, key, value, attention.output.dense, output.dense.",
        ) from error
    return adapted


def collate(encoder: SentenceTransformer, triples: Sequence[Triple]) -> dict[str, Any]:
    """Token ids of all questions, of all passages that answer, of all that do not. Labels only count the questions."""
    columns = [[triple[at] for triple in triples] for at in range(len(Triple._fields))]
    return {"features": [encoder.preprocess(column) for column in columns], "labels": torch.arange(len(triples))}


def loss_sum(outputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    return outputs["loss"] * len(labels)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--params", type=Path, default=PARAMS)
    options.add_argument("--models-dir", type=Path, default=MODELS)
    options.add_argument("--prepared", type=Path, default=PREPARED)
    options.add_argument("--out", type=Path, default=ENCODER)
    given = options.parse_args()
    train_encoder(load_params(given.params), given.models_dir, given.prepared, given.out, Console())


if __name__ == "__main__":
    run_stage(main)

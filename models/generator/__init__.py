"""The generator: a LoRA adapter that answers a question in one sentence from the passages it is given."""

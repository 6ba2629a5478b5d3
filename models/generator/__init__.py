"""The generator: a LoRA adapter that answers a question in one sentence, from the one that answers it."""

"""Raw files of the training data: where they come from, under which licence, and how they are brought here."""

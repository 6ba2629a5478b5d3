"""Stage `prepare`: our questions and the manuals -> training data made by our own ingest and retrieval."""

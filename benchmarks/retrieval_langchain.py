"""The LangChain side of `retrieval.py`, run in its own environment: `python ... ENCODER QUESTIONS K PDF...`

The pipeline of `ingest_langchain.py`, asked each question of the JSON file QUESTIONS (a list of strings). Prints a JSON
list with, for each question, `[[file name, page], ...]` best first, and the milliseconds it took.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from ingest_langchain import load_pages, open_encoder, split
from langchain_community.vectorstores import FAISS


def main() -> None:
    encoder_folder, questions, k, *files = sys.argv[1:]
    embeddings = open_encoder(encoder_folder)
    index = FAISS.from_documents(split(load_pages(files)), embeddings)
    answers = []
    for question in json.loads(Path(questions).read_text()):
        begin = time.perf_counter()
        found = index.similarity_search(question, k=int(k))
        milliseconds = 1000 * (time.perf_counter() - begin)
        places = [(Path(passage.metadata["source"]).name, passage.metadata["page"] + 1) for passage in found]
        answers.append((places, milliseconds))
    print(json.dumps(answers))


if __name__ == "__main__":
    main()

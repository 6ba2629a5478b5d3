"""The LangChain side of `ingest.py`, run in its own environment: `python ingest_langchain.py ENCODER PDF...`

PyPDFLoader -> RecursiveCharacterTextSplitter(1000, 200) -> HuggingFaceEmbeddings -> FAISS -> save_local, each as its
documentation shows it. Prints one JSON object. Imports, loading the encoder and one warm-up text are not timed.
"""

# LangChain is installed in the benchmark's own environment only, so it is untyped here.
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time

from langchain_community.document_loaders import PyPDFLoader
from langchain_community.vectorstores import FAISS
from langchain_core.documents import Document
from langchain_huggingface import HuggingFaceEmbeddings
from langchain_text_splitters import RecursiveCharacterTextSplitter


def open_encoder(folder: str) -> HuggingFaceEmbeddings:
    """The encoder of a model folder, loaded and warm."""
    embeddings = HuggingFaceEmbeddings(
        model_name=folder, model_kwargs={"device": "cpu"}, encode_kwargs={"normalize_embeddings": True}
    )
    embeddings.embed_query("warm-up")
    return embeddings


def load_pages(files: list[str]) -> list[Document]:
    return [page for file in files for page in PyPDFLoader(file).load()]


def split(pages: list[Document]) -> list[Document]:
    return list(RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=200).split_documents(pages))


def main() -> None:
    encoder_folder, *files = sys.argv[1:]
    embeddings = open_encoder(encoder_folder)

    begin = time.perf_counter()
    pages = load_pages(files)
    loaded = time.perf_counter()
    chunks = split(pages)
    index = FAISS.from_documents(chunks, embeddings)
    with tempfile.TemporaryDirectory() as folder:
        index.save_local(folder)
        end = time.perf_counter()

    print(
        json.dumps(
            {
                "pages": len(pages),
                "chunks": len(chunks),
                "seconds": end - begin,
                "load_s": loaded - begin,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()

"""What went out, by lineage id, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from services.core.catalog import Catalog
from services.core.errors import NotFound
from services.core.lineage import ClassificationLog, logged, new_classification_id
from services.core.tables import classifications

INPUTS: list[dict[str, str | None]] = [{"text": "four", "text_pair": "five!"}, {"text": "x", "text_pair": None}]


def save(log: ClassificationLog, lineage_id: str) -> None:
    log.save({"id": lineage_id, "model": "m", "results": [], "lineage": {"id": lineage_id}}, INPUTS)


def test_answers_and_classifications_are_found_by_their_ids(catalog: Catalog) -> None:
    catalog.save_answer("default", {"id": "ans_1", "lineage": {}})
    save(ClassificationLog(catalog.database, 10, 100), "cls_1")
    answer, classification = (logged(catalog.database, one) for one in ("ans_1", "cls_1"))
    assert (answer.kind, answer.body) == ("answer", {"id": "ans_1", "lineage": {}})
    assert (classification.kind, classification.body["inputs"]) == ("classification", INPUTS)
    assert 0 < answer.created_at <= classification.created_at
    with pytest.raises(NotFound, match="cls_2"):
        logged(catalog.database, "cls_2")


def test_only_the_newest_classifications_are_kept(catalog: Catalog) -> None:
    ids = sorted(new_classification_id() for _ in range(7))
    for number, lineage_id in enumerate(ids, 1):
        save(ClassificationLog(catalog.database, 3, 100), lineage_id)
        with catalog.database.read() as connection:
            assert connection.execute(select(func.count()).select_from(classifications)).scalar() == min(number, 3)
    assert [logged(catalog.database, lineage_id).body["id"] for lineage_id in ids[4:]] == ids[4:]
    with pytest.raises(NotFound):
        logged(catalog.database, ids[3])


@pytest.mark.parametrize(("max_chars", "kept"), [(10, INPUTS), (9, None)])
def test_texts_are_kept_up_to_a_size(catalog: Catalog, max_chars: int, kept: object) -> None:
    save(ClassificationLog(catalog.database, 3, max_chars), "cls_1")
    assert logged(catalog.database, "cls_1").body["inputs"] == kept


def test_a_log_of_no_rows_keeps_nothing(catalog: Catalog) -> None:
    save(ClassificationLog(catalog.database, 0, 100), "cls_1")
    with pytest.raises(NotFound):
        logged(catalog.database, "cls_1")

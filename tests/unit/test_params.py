"""One set of parameters put over another."""

from __future__ import annotations

from models.params import merged


def test_mappings_are_merged_and_the_rest_is_replaced() -> None:
    below = {"data": {"seed": 1, "test": ["a", "b"], "overlap": {"pieces": 0.5, "encoder": 0.8}}, "name": "x"}
    above = {"data": {"test": ["c"], "overlap": {"encoder": 0.9}}, "new": {"k": 1}}
    assert merged(below, above) == {
        "data": {"seed": 1, "test": ["c"], "overlap": {"pieces": 0.5, "encoder": 0.9}},
        "name": "x",
        "new": {"k": 1},
    }
    assert below["data"] == {"seed": 1, "test": ["a", "b"], "overlap": {"pieces": 0.5, "encoder": 0.8}}


def test_a_mapping_gives_way_to_a_value_and_a_value_to_a_mapping() -> None:
    assert merged({"a": {"b": 1}}, {"a": None}) == {"a": None}
    assert merged({"a": 1}, {"a": {"b": 2}}) == {"a": {"b": 2}}
    assert merged({"a": 1}, {}) == {"a": 1}

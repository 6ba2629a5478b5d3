"""Which answers the challenger gives as well."""

from __future__ import annotations

from services.api.shadow import chosen

IDS = [f"ans_{number:012x}{number * 7919:016x}" for number in range(2_000)]


def test_none_all_and_a_share_of_the_answers_is_chosen() -> None:
    assert not any(chosen(one, 0.0) for one in IDS)
    assert all(chosen(one, 1.0) for one in IDS)
    assert 0.22 < sum(chosen(one, 0.25) for one in IDS) / len(IDS) < 0.28


def test_the_choice_depends_on_the_id_alone_and_a_larger_share_only_adds() -> None:
    small, again, large = ({one for one in IDS if chosen(one, share)} for share in (0.1, 0.1, 0.3))
    assert small == again < large

"""Terms of technical text: names whole and in parts, words by their stem."""

from __future__ import annotations

import pytest

from services.core.lexical.terms import terms


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("--no-act", "--no-act", ["no", "act"]),
        ("(see /etc/fstab).", "/etc/fstab", ["see", "etc", "fstab"]),
        ("call set_filter(),", "set_filter", ["call", "set", "filter"]),
        ("“~/.bashrc”", "~/.bashrc", ["bashrc"]),
        (".profile", ".profile", ["profil"]),
        ("version 2.7.1!", "2.7.1", ["version", "2", "7", "1"]),
        ("$HOME:", "$home", ["home"]),
        ("a && b", "&&", ["a", "b"]),
    ],
)
def test_a_name_counts_whole_and_in_parts(text: str, name: str, words: list[str]) -> None:
    assert terms(text) == [*words, name]


def test_words_are_reduced_to_their_stem_and_names_are_not() -> None:
    assert terms("Installing installed packages") == ["instal", "instal", "packag"]
    assert terms("pre-installing")[-1] == "pre-installing"


def test_case_and_compatibility_forms_do_not_matter() -> None:
    assert terms("ﬁle FILE ﬁle_Name") == terms("file file file_name")


def test_punctuation_around_a_word_makes_no_name_of_it() -> None:
    assert terms('“Alpha”, (alpha) <alpha> alpha... "alpha"?') == ["alpha"] * 5
    assert terms(" .,;() \n") == []


def test_a_rule_of_dots_or_a_blob_is_no_name() -> None:
    assert terms("." * 200) == []
    assert terms("ab-" * 60) == ["ab"] * 60

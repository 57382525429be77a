"""The built-in grammar of stories."""

from __future__ import annotations

import pytest

from growjax.data import corpus, grammar


def test_grammar_is_distinct_at_20000():
    stories = list(grammar.stories(20000))
    assert len(set(stories)) == 20000
    words = sorted(len(s.split()) for s in stories)
    assert words[0] >= 80
    assert words[-1] <= 230
    for story in stories:
        assert story == story.strip()
        assert story[-1] in '.!?"'
        assert not set(story) & set("{}")
        assert "\n\n" not in story
        assert "  " not in story


def test_grammar_is_pinned():
    digest = corpus.stories_digest(grammar.stories(1000))
    assert digest == "6c7af017561364744e19ebc3c919dc828753970a875a4af7fa200105cee777ee", (
        "stories changed: raise GRAMMAR_VERSION"
    )


def test_grammar_streams_nest_and_seeds_differ():
    assert list(grammar.stories(30))[:10] == list(grammar.stories(10))
    assert not set(grammar.stories(300)) & set(grammar.stories(300, seed=1))
    assert list(grammar.stories(0)) == []
    with pytest.raises(ValueError, match="-1"):
        list(grammar.stories(-1))


def test_splitmix64_is_the_published_one():
    # first outputs of SplitMix64 from state 0, as its reference implementation gives them
    gamma = 0x9E3779B97F4A7C15
    first = [grammar.splitmix64(k * gamma & (2**64 - 1)) for k in (1, 2, 3)]
    assert first == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]

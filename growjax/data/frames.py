"""How every story of the built-in grammar begins and ends, and what a template is.

A string is text with fields, a tuple a choice, a list a sequence. Text with dialogue stands in single quotes, so it
holds no apostrophes. Fields: `N` the hero (`he him his He`), `F` the friend (`fhe fhim fhis FHe`), `G` a grown-up
(`ghe ghis`), `T` a coloured thing, `w1 p1 h1` (also 2 and 3) where, the name and the hiding spot of a place, and the
parts of one entry of each tuple list in `words`.
"""

from __future__ import annotations

from typing import TypeAlias

Node: TypeAlias = "str | tuple[Node, ...] | list[Node]"

OPENING: Node = (
    "Once there was a {adj} {kind} named {N}. {He} {habit}.",
    "{N} was a {adj} {kind} who lived in a {house} {spot}. {He} {habit}.",
    "In a {house} {spot} lived a {adj} {kind} named {N}, who {habit}.",
    "There was a {kind} called {N}. {N} was {adj} and {habit}.",
    "This is a story about {N}, a {adj} {kind}. {He} {habit}.",
)

MORNING: tuple[str, ...] = (
    "One {weather} {day}, ",
    "On a {weather} {day}, ",
    "One {weather} morning, ",
    "Early one {weather} {day}, ",
    "One day, when it was {weather} outside, ",
)

FRIEND: tuple[str, ...] = (
    "{His} best friend was a {fkind} named {F}.",
    "{F}, a {fadj} {fkind}, lived next door.",
    "Every afternoon {he} met {F}, a {fadj} {fkind}.",
    "{He} had a good friend, a {fkind} called {F}.",
)

CLOSING: Node = ("{ending}", "{ending}", "{ending}", "")

"""The built-in corpus: children's stories made by a small grammar, the same for ever for one seed.

Randomness is SplitMix64 over (seed, index, draw) in whole numbers, so no library or Python version can change it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeVar

from growjax.data import frames, words
from growjax.data.plots_events import EVENTS
from growjax.data.plots_people import PEOPLE

GRAMMAR_VERSION = 1
"""Grows whenever any story of any seed changes."""

PLOTS = (*EVENTS, *PEOPLE)

T = TypeVar("T")
_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


def splitmix64(state: int) -> int:
    """The SplitMix64 output function: 64 bits in, 64 well-mixed bits out."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


class Draws:
    """The draws of one story; draw `k` depends on (seed, index, k) alone."""

    def __init__(self, seed: int, index: int):
        self.state = splitmix64((splitmix64((seed + _GAMMA) & _MASK) + index * _GAMMA) & _MASK)

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1 (n below 2**32; the bias is under n / 2**32)."""
        self.state = (self.state + _GAMMA) & _MASK
        return ((splitmix64(self.state) >> 32) * n) >> 32

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.below(len(options))]

    def some(self, options: Sequence[T], count: int) -> list[T]:
        """`count` different options, in the order drawn."""
        chosen: list[int] = []
        while len(chosen) < count:
            at = self.below(len(options))
            if at not in chosen:
                chosen.append(at)
        return [options[at] for at in chosen]


_PRONOUNS = (("she", "her", "her", "herself"), ("he", "him", "his", "himself"))


def _cap(text: str) -> str:
    return text[0].upper() + text[1:]


def _the(text: str) -> str:
    return "the " + text.removeprefix("a ")


def _being(draws: Draws, sex: int) -> str:
    """A child in two thirds of all cases, otherwise an animal of the story world."""
    return words.KINDS[sex] if draws.below(3) else draws.pick(words.CREATURES)


def _cast(draws: Draws) -> dict[str, str]:
    """Every field that a plot may use, chosen once for a story."""
    f: dict[str, str] = {}
    sex, fsex = draws.below(2), draws.below(2)
    for own, prefix in ((sex, ""), (fsex, "f")):
        he, him, his, himself = _PRONOUNS[own]
        f |= {prefix + "he": he, prefix + "him": him, prefix + "his": his, prefix + "himself": himself}
    f |= {"He": _cap(f["he"]), "His": _cap(f["his"]), "FHe": _cap(f["fhe"])}
    names = [draws.some((words.GIRLS, words.BOYS)[s], 2) for s in (sex, fsex)]
    f["N"] = names[0][0]
    f["F"] = names[1][0] if names[1][0] != f["N"] else names[1][1]
    f["pet"] = draws.pick(("Button", "Pepper", "Biscuit", "Clover", "Pebble", "Thimble", "Noodle", "Acorn"))
    f["kind"], f["fkind"] = _being(draws, sex), _being(draws, fsex)
    f["adj"], f["fadj"] = draws.some(words.ADJECTIVES, 2)
    f["G"], gsex = draws.pick(words.GROWNUPS)
    f["ghe"], _, f["ghis"], _ = _PRONOUNS[gsex]
    f["weather"], f["n"] = draws.pick(words.WEATHER), draws.pick(words.NUMBERS)
    f["day"], f["day2"] = draws.some(words.DAYS, 2)
    f["snack"], f["snack2"] = draws.some(words.SNACKS, 2)
    f["house"], f["spot"] = draws.pick(words.HOUSES), draws.pick(words.SPOTS)
    colour, f["c2"] = draws.some(words.COLOURS, 2)
    for i, (where, place, hide) in enumerate(draws.some(words.PLACES, 3), 1):
        f |= {f"w{i}": where, f"p{i}": place, f"h{i}": hide, f"W{i}": _cap(where), f"H{i}": _cap(hide)}
    noun, f["use"], f["breaks"], f["mends"], f["tool"] = draws.pick(words.THINGS)
    f["T"] = f"{colour} {noun}"
    f["animal"], f["where"], f["trouble"], f["rescue"], f["thanks"] = draws.pick(words.ANIMALS)
    f["fear"], f["fearplace"], f["feared"], f["truth"], f["advice"] = draws.pick(words.FEARS)
    f["storm"], f["sign"], f["damage"], f["missing"], f["fixstorm"] = draws.pick(words.STORMS)
    f["thestorm"] = _the(f["storm"])
    f["contest"], f["prepare"], f["wrong"], f["prize"] = draws.pick(words.CONTESTS)
    f["theprize"] = _the(f["prize"])
    f["skill"], f["lw"], f["fail"], f["hint"], f["success"] = draws.pick(words.SKILLS)
    f["LW"] = _cap(f["lw"])
    f["secret"], f["hidden"], f["reveal"] = draws.pick(words.SECRETS)
    f["party"], f["made"], f["excuse"] = draws.pick(words.PARTIES)
    f["made"] = f["made"].format_map(f)
    habit, ending = draws.pick(words.HABITS)
    f["habit"], f["ending"] = habit.format_map(f), ending.format_map(f)
    f["morning"] = draws.pick(frames.MORNING).format_map(f)
    f["friend"] = draws.pick(frames.FRIEND).format_map(f)
    return f


def _write(node: frames.Node, draws: Draws, fields: dict[str, str], out: list[str]) -> None:
    """Append the sentences of a node: a string as it is, one choice of a tuple, a list in order."""
    while isinstance(node, tuple):
        node = draws.pick(node)
    if isinstance(node, str):
        if node:
            out.append(node.format_map(fields))
    else:
        for part in node:
            _write(part, draws, fields, out)


def story(seed: int, index: int) -> str:
    """Story number `index` of the stream of `seed`; different numbers may, very rarely, give equal stories."""
    draws = Draws(seed, index)
    fields = _cast(draws)
    paragraphs: list[str] = []
    for node in (frames.OPENING, draws.pick(PLOTS), frames.CLOSING):
        sentences: list[str] = []
        _write(node, draws, fields, sentences)
        if sentences:
            paragraphs.append(" ".join(sentences))
    return ("\n" if draws.below(2) else " ").join(paragraphs)


def stories(count: int, *, seed: int = 0) -> Generator[str, None, None]:
    """Yield `count` distinct stories; a longer stream of one seed begins with every shorter one.

    `seed` may be any whole number (taken modulo 2**64). Raises ValueError where `count` is negative.
    """
    if count < 0:
        raise ValueError(f"count is {count}")
    seen: set[str] = set()
    index = 0
    while len(seen) < count:
        text = story(seed, index)
        index += 1
        if text not in seen:
            seen.add(text)
            yield text

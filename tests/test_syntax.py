"""What the canonical text of a module holds, and what it leaves out."""

from __future__ import annotations

import hashlib
import textwrap

import pytest

from growjax.syntax import canonical


def same(one: str, other: str) -> bool:
    return canonical(textwrap.dedent(one))[0] == canonical(textwrap.dedent(other))[0]


SAME = {
    "closure": ("def f(a):\n x = a\n return lambda b: x + b", "def f(a):\n y = a\n return lambda b: y + b"),
    "nonlocal": (
        "def f():\n n = 0\n def g():\n  nonlocal n\n  n += 1\n return g",
        "def f():\n m = 0\n def g():\n  nonlocal m\n  m += 1\n return g",
    ),
    "comprehension": ("a = [x * y for x in p for y in x if y]", "a = [u * v for u in p for v in u if v]"),
    "walrus": ("def f(p): return [q for x in p if (q := x)]", "def f(p): return [w for x in p if (w := x)]"),
    "exception": ("def f():\n try: g()\n except E as e: h(e)", "def f():\n try: g()\n except E as x: h(x)"),
    "with, for": (
        "def f(p):\n with p as q:\n  for a, (b, *c) in q: yield a, b, c",
        "def f(p):\n with p as r:\n  for x, (y, *z) in r: yield x, y, z",
    ),
    "pattern": (
        "def f(p):\n match p:\n  case [a, *b] | {'k': a, **b}: return a, b\n  case C(x=d) as e: return d, e",
        "def f(p):\n match p:\n  case [w, *q] | {'k': w, **q}: return w, q\n  case C(x=y) as z: return y, z",
    ),
    "annotations": ("def f(a: int, *, b: str = 'x') -> int:\n x: int = a\n y: int\n return x",
                    "def f(a, *, b='x'):\n x = a\n return x"),
    "type checkers": ("if TYPE_CHECKING:\n import a\nelse:\n b = 1", "b = 1"),
    "docstrings": ("class A:\n '''one'''\n x: int = 1\n '''of x'''", "class A:\n x: float = 1"),
    "strings": ("a = 'b' \"c\" f'{d}'; e = (1 +\n 2)", "a = f'bc{d}'\ne = 1 + 2"),
}  # fmt: skip


OTHER = {
    "parameter": ("def f(a): return a", "def f(b): return b"),
    "keyword parameter": ("def f(*, a=1, b): pass", "def f(*, a, b=1): pass"),
    "parameter of a nested function": ("def f():\n return lambda a: a", "def f():\n return lambda b: b"),
    "nested function": ("def f():\n def g(): pass\n return jit(g)", "def f():\n def h(): pass\n return jit(h)"),
    "global": ("def f():\n global a\n a = 1", "def f():\n global b\n b = 1"),
    "local or global": ("def f():\n x = 1\n return y", "def f():\n y = 1\n return y"),
    "locals seen": ("def f():\n a = 1\n return locals()", "def f():\n b = 1\n return locals()"),
    "locals swapped": ("def f(p):\n a, b = p\n return a - b", "def f(p):\n b, a = p\n return a - b"),
    "a name in a class": ("def f():\n class A:\n  x = 1", "def f():\n class A:\n  y = 1"),
    "local import": ("def f():\n import a\n a.b()", "def f():\n import c\n c.b()"),
    "order of fields": ("class A:\n x: int = 1\n y: int = 1", "class A:\n y: int = 1\n x: int = 1"),
    "a field without default": ("class A:\n x: int\n y: int", "class A:\n x: int"),
    "a field or not": ("class A:\n x: int = 1", "class A:\n x = 1"),
    "a class variable": ("class A:\n x: int = 1", "class A:\n x: 'typing.ClassVar[int]' = 1"),
    "an operator's option": ("def f(s, *, streams, n: int = 1): pass", "def f(s, *, streams, n: float = 1): pass"),
    "type of a constant": ("a = 1", "a = 1.0"),
    "true or one": ("a = True", "a = 1"),
    "text or bytes": ("a = 'b'", "a = b'b'"),
    "conversion": ("a = f'{b}'", "a = f'{b!r}'"),
    "format": ("a = f'{b:.2f}'", "a = f'{b:.3f}'"),
    "keyword": ("f(a=1)", "f(b=1)"),
    "attribute": ("a.b", "a.c"),
    "decorator": ("@jit\ndef f(): pass", "def f(): pass"),
    "nothing or none": ("def f(): return", "def f(): return None"),
    "merged mapping": ("a = {**b, 'c': 1}", "a = {'c': 1, **b}"),
    "alias": ("from a import b", "from a import c as b"),
    "async": ("async def f(): pass", "def f(): pass"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_what_is_the_same(name: str):
    assert same(*SAME[name])


@pytest.mark.parametrize("name", OTHER)
def test_what_is_another(name: str):
    assert not same(*OTHER[name])


def test_every_python_gives_the_same_digest():
    """Made once, under 3.11: of every piece of text above, and of strings that versions splits differently."""
    pieces = [*SAME.values(), *OTHER.values(), ("f'a{{b}}{c!r:>{d}}{e:}{f=}'", "-1e400j; '\\ud800 \u00e9'; u'k'")]
    text = "".join(canonical(each)[0] for pair in pieces for each in pair)
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "009a2cb4822ec161f403d2de6348e4b913536eea22c9ce80e813a99e545fc204"
    )

"""Memory in large pages: asked for once, by the process itself, without taking a word from the user."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from growjax import large_pages

ASK = """
import json, os, sys
from growjax import large_pages
large_pages.start_again()
print(json.dumps([os.getpid(), os.environ.get("GLIBC_TUNABLES", ""), sys.argv[1:]]))
"""


def test_what_the_user_set_stays():
    every = large_pages.with_large_pages()
    assert all(f"{name}={value}" in every.split(":") for name, value in large_pages.TUNABLES.items())
    given = "glibc.malloc.hugetlb=0:glibc.malloc.check=1"
    words = large_pages.with_large_pages(given).split(":")
    assert words[:2] == given.split(":") and "glibc.malloc.hugetlb=1" not in words
    assert large_pages.with_large_pages(every) == every


@pytest.mark.parametrize("given", ["", "glibc.malloc.check=0"])
def test_a_command_starts_again_in_its_own_place(given: str):
    env = {**os.environ, "GLIBC_TUNABLES": given, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", ASK, "two words", ""]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as process:
        described = json.loads(process.communicate(timeout=60)[0])
    assert described == [process.pid, large_pages.with_large_pages(given), ["two words", ""]]


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("started again"))
    for described in (None, "musl 1.2", "glibc 2.31"):
        monkeypatch.setattr(os, "confstr", lambda _, described=described: described)
        large_pages.start_again()

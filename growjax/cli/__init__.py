"""The command line: a thin function for each verb, progress on stderr, exit codes.

0 done, 1 what was checked does not hold, 2 bad input (one line on stderr), 3 not comparable here.
"""

from __future__ import annotations

import importlib
import io
import keyword
import os
import re
import sys
from collections.abc import Callable, Sequence

from growjax import runtime, settings
from growjax.errors import CheckFailed, NotComparable, UserError, one_line
from growjax.interrupts import LINE, Interrupted

VERBS = {
    "train": "train a source model and keep its full state at named steps",
    "widen": "make a wide start from a trained state",
    "plan": "memory, time and mesh of a target on chips that need not be here",
    "import": "bring in a Hugging Face checkpoint as a state",
    "export": "write a state as a Hugging Face checkpoint",
    "study": "the whole experiment: sources, candidates, probes, continuations, rankings, report",
    "select": "the best wide start for a source, found within a budget of training steps",
    "operators": "list the ways to widen, with what each preserves, measured here",
    "audit": "account for every random draw of a run, without trusting JAX",
    "report": "rebuild tables, figures and the page of a run",
    "merge": "two runs of one environment as one run",
    "claims": "decide the paper's claims on a run, each by a rule written beforehand",
    "verify": "compute recorded cells again, and compare them bit for bit",
    "diff": "the first difference between two runs or two states",
    "doctor": "prove the bits contract on this machine's own device, row by row",
}


def module_of(verb: str) -> str:
    """The module of a verb; one that is a word of Python's has an underscore behind it."""
    return f"growjax.cli.{verb}{'_' * keyword.iskeyword(verb)}"


def usage() -> str:
    """What `python -m growjax --help` prints."""
    rows = "\n".join(f"  {verb:<10}{text}" for verb, text in VERBS.items())
    return f"usage: python -m growjax VERB [options]\n\n{rows}\n\npython -m growjax VERB --help lists a verb's options."


def main(argv: Sequence[str], *, notes: Sequence[str] = (), ready: Callable[[], None] = lambda: None) -> int:
    """Runs a verb; returns the exit code. `notes` are lines about the pins, for stderr; `ready` is called once modules
    are imported."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may hold bytes that are no text
    try:
        if not argv or argv[0] in ("-h", "--help", "help"):
            print(usage(), flush=True)
            return 0
        settings.refuse(os.environ)
        settings.refuse_flags(os.environ, runtime.known_flags())
        for note in notes:
            print(f"growjax: {note}", file=sys.stderr)
        if argv[0] not in VERBS:
            raise UserError(f"no verb is named {argv[0]!r}", f"choose one of {', '.join(VERBS)}")
        verb = importlib.import_module(module_of(argv[0]))
        ready()
        return verb.run(list(argv[1:]))
    except UserError as error:
        return _say(error, 2)
    except CheckFailed as error:
        return _say(error, 1)
    except NotComparable as error:
        return _say(error, 3)
    except KeyboardInterrupt as error:
        if not isinstance(error, Interrupted):
            print(LINE, file=sys.stderr)
            return 130
        error.say()
        return error.code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        from growjax.files import explain

        described = explain(error) or runtime.blamed(error)
        if described is None:
            raise
        return _say(described, 2)


def _say(what: object, code: int) -> int:
    line = re.sub(r"\S{400,}", lambda word: f"{word[0][:80]}...{word[0][-40:]}", one_line(what))
    print(f"growjax: {line if len(line) < 2000 else line[:1500] + '...' + line[-400:]}", file=sys.stderr)
    return code

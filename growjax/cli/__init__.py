"""The command line: a thin function for each verb, progress on stderr, exit codes.

0 done, 1 what was checked does not hold, 2 bad input (one line on stderr), 3 not comparable here.
"""

from __future__ import annotations

import importlib
import keyword
import os
import sys
from collections.abc import Sequence

from growjax.errors import CheckFailed, NotComparable, UserError

VERBS = {
    "train": "train a source model and keep its full state at named steps",
    "widen": "make a wide start from a trained state",
    "import": "bring in a Hugging Face checkpoint as a state",
    "export": "write a state as a Hugging Face checkpoint",
    "study": "the whole experiment: sources, candidates, probes, continuations, rankings, report",
    "operators": "list the ways to widen, with what each preserves, measured here",
    "audit": "account for every random draw of a run, without trusting JAX",
    "report": "rebuild tables, figures and the page of a run",
    "verify": "compute recorded cells again, and compare them bit for bit",
    "diff": "the first difference between two runs or two states",
    "doctor": "prove the bits contract on this machine's own device, row by row",
}


def usage() -> str:
    """What `python -m growjax --help` prints."""
    rows = "\n".join(f"  {verb:<10}{text}" for verb, text in VERBS.items())
    return f"usage: python -m growjax VERB [options]\n\n{rows}\n\npython -m growjax VERB --help lists a verb's options."


def main(argv: Sequence[str], *, notes: Sequence[str] = ()) -> int:
    """Runs a verb; returns the exit code. `notes` are lines about the pins, for stderr."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    for note in notes:
        print(f"growjax: {note}", file=sys.stderr)
    try:
        if argv[0] not in VERBS:
            raise UserError(f"no verb is named {argv[0]!r}", f"choose one of {', '.join(VERBS)}")
        module = argv[0] + "_" * keyword.iskeyword(argv[0])
        return importlib.import_module(f"growjax.cli.{module}").run(list(argv[1:]))
    except UserError as error:
        return _say(error, 2)
    except CheckFailed as error:
        return _say(error, 1)
    except NotComparable as error:
        return _say(error, 3)
    except KeyboardInterrupt:
        return _say("interrupted: finished cells are kept, and the same command goes on", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        from growjax.files import explain

        told = explain(error)
        if told is None:
            raise
        return _say(told, 2)


def _say(what: object, code: int) -> int:
    print(f"growjax: {what}", file=sys.stderr)
    return code

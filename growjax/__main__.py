"""`python -m growjax VERB`: the pins first, then everything else."""

import sys

from growjax.interrupts import Interrupts


def entry() -> int:
    """Sees to signals and large pages, sets the pins and runs the command line; also the console script `growjax`."""
    interrupts = Interrupts()
    from growjax import pages, runtime

    pages.start_again()
    notes = runtime.pin()
    from growjax.cli import main  # only now: jax reads the pins when it is imported

    return main(sys.argv[1:], notes=notes, ready=interrupts.working)


if __name__ == "__main__":
    sys.exit(entry())

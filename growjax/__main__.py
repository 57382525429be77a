"""`python -m growjax VERB`: the pins first, then everything else."""

import sys

from growjax.interrupts import Interrupted, Interrupts


def entry() -> int:
    """Sees to signals and large pages, sets the pins and runs the command line; also the console script `growjax`."""
    interrupts = Interrupts()
    from growjax import large_pages, runtime

    large_pages.start_again()
    notes = runtime.pin()
    from growjax.cli import main  # only now: jax reads the pins when it is imported

    try:
        return main(sys.argv[1:], notes=notes, ready=interrupts.working)
    except (Interrupted, Exception):  # on its way back, or as what a library made of it
        if interrupts.came is None:
            raise
        interrupts.came.say()
        return interrupts.came.code
    finally:
        interrupts.ended()


if __name__ == "__main__":
    sys.exit(entry())

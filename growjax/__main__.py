"""`python -m growjax VERB`: the pins first, then everything else."""

import sys

from growjax import pages, runtime


def entry() -> int:
    """Sees to large pages, sets the pins and runs the command line; also the console script `growjax`."""
    pages.start_again()
    notes = runtime.pin()
    from growjax.cli import main  # only now: jax reads the pins when it is imported

    return main(sys.argv[1:], notes=notes)


if __name__ == "__main__":
    sys.exit(entry())

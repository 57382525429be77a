"""`python -m growjax VERB`: the pins first, then everything else."""

import sys

from growjax import runtime

_NOTES = runtime.pin()

from growjax.cli import main  # noqa: E402  (jax reads the pins when it is imported)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], notes=_NOTES))

"""How far a plan is off: its memory against the compiler's own analysis, its time against measured steps.

    python -m experiments.plan --out artifacts/plan.json [--card-python PYTHON] [--parts cpu card time recorded table]

Claims: memory within 5 % of the compiler's own analysis on four shapes, and time within 30 % of measured steps on 1 to
8 CPU devices. Where one does not hold, the file says how far off it is, and the exit code is 1.

    cpu       four shapes, every program of a step on a mesh of eight CPU devices: bytes by the compiler and by the plan
    card      four shapes, a virtual shard's program, compiled for an H100 without one (with `--card-python`, an
              interpreter that has jax-cuda13-plugin and jax-cuda13-pjrt of its jax's version)
    time      steps on meshes of 1, 2, 4 and 8 CPU devices, in CPU seconds of the process, since a machine has other
              work; rates are measured in turns with them, and the best of the rounds is taken of both
    recorded  the steps of an H200 in artifacts/accelerator-nvidia-h200.json
    table     Llamas of 1, 3 and 8 billion parameters on 8, 64 and 512 chips: mesh, memory, seconds a step

Parts that are not named stay as the file has them. A quarter of an hour on two quiet cores.
"""

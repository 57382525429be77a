"""The operators: the paper's four families with reference and control, and one file for each published way to widen.

Where a paper says nothing of the optimizer its state starts anew (moments and counts 0); the schedule goes on, so that
all candidates of a comparison share it. `growjax.grow.registry` has them by name.
"""

"""Proof: the canaries before a run, recorded cells computed again, first differences, and the bits contract's rows."""

"""Evidence from an accelerator, by one command: see `experiments.accelerator.__main__`."""

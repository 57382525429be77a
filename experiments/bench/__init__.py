"""How fast growjax is beside its peers on the same cores: `python -m experiments.bench`."""

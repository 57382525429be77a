"""The experiment: what is compared, the cells it consists of, the lanes that fill them, and the rankings."""

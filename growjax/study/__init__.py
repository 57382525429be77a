"""The experiment: what is compared, the cells it consists of, how workers fill them, and the rankings."""

"""Growth: the plan of which coordinate copies which, the law of what that does to training, and the operators."""

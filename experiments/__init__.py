"""Evidence that takes long: each module is run by hand and keeps its figures under artifacts/."""

"""Stories, tokens and batches."""

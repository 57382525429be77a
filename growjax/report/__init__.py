"""The pages: figures, tables and words drawn from the summary of a study or a selection, and nothing computed anew.

Nothing here runs a model or reads a record: `page.write_report` and `selection.write_selection` take plain data and
write files.
"""

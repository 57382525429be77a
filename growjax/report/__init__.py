"""The page: figures, tables and words drawn from a study's summary, and nothing computed anew.

Nothing here runs a model or reads a record: `page.write_report` takes plain data and writes files.
"""

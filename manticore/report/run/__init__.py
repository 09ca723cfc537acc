"""The report page and the table of one search."""

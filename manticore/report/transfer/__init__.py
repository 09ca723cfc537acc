"""The report page and the tables of a transfer study."""

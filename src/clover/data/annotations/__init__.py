"""The public annotation files to records, one module per publisher; what was wrong with a row is collected."""

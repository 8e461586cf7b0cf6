"""NETWORK, DATA AND DEVICES → OPERATIONS, MEMORY, DAYS: arithmetic ahead of a run; nothing is measured here."""

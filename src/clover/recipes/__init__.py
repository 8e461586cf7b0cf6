"""Whole experiments as functions; each derives from another by replacing fields."""

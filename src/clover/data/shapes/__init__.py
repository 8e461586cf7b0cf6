"""The generated corpus "moving shapes": a small world that a language can describe, and exact questions about it."""

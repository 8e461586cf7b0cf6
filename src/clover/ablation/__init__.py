"""The paper's experiment: every system, every seed, four evaluations, and what follows from them."""

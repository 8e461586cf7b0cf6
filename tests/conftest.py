"""Shapes in signatures are checked in every test; helpers of a test folder are importable by name."""

from jaxtyping import install_import_hook

install_import_hook("clover", "beartype.beartype")

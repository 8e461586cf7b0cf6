"""Shapes in signatures are checked in every test; helpers of a test folder are importable by name."""

from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

install_import_hook("clover", "beartype.beartype")

# on a busy machine every example may be slow now and then; what takes long is seen in the time of the whole suite
settings.register_profile("clover", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("clover")

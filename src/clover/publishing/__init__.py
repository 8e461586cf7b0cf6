"""A checkpoint for others: what its run's records say of it, as a model card; the Hugging Face Hub."""

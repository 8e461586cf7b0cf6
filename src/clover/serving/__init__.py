"""A library behind a REST API and a page in the browser."""

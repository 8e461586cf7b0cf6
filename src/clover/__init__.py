"""Clover: one video-language model that retrieves videos by text and answers questions about them."""

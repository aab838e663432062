"""Critics that write: judgements in words, and what they are good for."""

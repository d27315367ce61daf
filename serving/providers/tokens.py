"""A token count where no tokenizer counts: stated, deterministic, never billed by a vendor."""

BYTES_PER_TOKEN = 4
"""English prose is near 4 UTF-8 bytes a token with the vendors' tokenizers; other scripts need more of both."""


def estimated_tokens(*texts: str) -> int:
    """Tokens that the texts are worth: UTF-8 bytes divided by four, rounded up, at least 1 for a non-empty text."""
    return sum(-(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN) for text in texts)

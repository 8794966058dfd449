"""How ids, names and namespaces are spelled, and how an id is made."""

import re
import secrets

__all__ = ["ID_PATTERN", "NAMESPACE_PATTERN", "NAME_PATTERN", "make_id"]

ID_PATTERN = r"^[a-z0-9]([a-z0-9._-]{0,98}[a-z0-9])?$"
NAMESPACE_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
NAME_PATTERN = re.compile(r"[^*?\[]{1,100}")

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def make_id(scope: str) -> str:
    """An id for an instance that named none: its scope and eight random characters (41 bits)."""
    return f"{scope}-{''.join(secrets.choice(_ALPHABET) for _ in range(8))}"

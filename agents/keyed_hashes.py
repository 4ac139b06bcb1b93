"""Users and unknown words as keyed hashes: equal ones are known again, and only who has the key can tell which."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path

from streams.errors import TrieflowError
from streams.settings import Settings

KEY_FILE = "user-hash-key"
_KEY_BYTES = 32
_WORD_DIGITS = 32


class KeyedHashes:
    """HMAC-SHA-256 by the key of the settings, or of the data folder. All searchers must have the same."""

    def __init__(self, settings: Settings, *, make: bool = True) -> None:
        """`make`: whether a missing key is made. Else TrieflowError is raised."""
        self._key = _user_key(settings, make=make)

    def salt_key(self, user_id: str) -> str:
        """By which the salt of a user is found: 64 hexadecimal digits."""
        return self._of("salt\n" + user_id)

    def person(self, user_id: str, *, salt: str) -> str:
        """64 hexadecimal digits; without the salt nobody can tell whose they are, not even who has the key."""
        return self._of(f"person\n{salt}\n{user_id}")

    def session(self, session_id: str, *, salt: str) -> str:
        """The same of a session of that user: 32 digits."""
        return self._of(f"session\n{salt}\n{session_id}")[:_WORD_DIGITS]

    def word(self, word: str) -> str:
        """32 hexadecimal digits, others than those of a user of that name."""
        return self._of("word\n" + word)[:_WORD_DIGITS]

    def _of(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def _user_key(settings: Settings, *, make: bool) -> bytes:
    """The key that turns user ids into hashes: a setting, or made once and kept in the data folder."""
    if settings.privacy.user_hash_key is not None:
        return settings.privacy.user_hash_key.get_secret_value().encode()
    path: Path = settings.data / KEY_FILE
    if not path.exists():
        if not make:
            raise TrieflowError(
                f"the key by which users are hashed is not here ({path}): name the data folder of a searcher by "
                f"--data, or set privacy.user_hash_key as it is set there"
            )
        _make_key(path)
    return path.read_bytes()


def _make_key(path: Path) -> None:
    """Whole or not at all, and the first of several searchers wins: all must hash alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name) as file:
        file.write(secrets.token_bytes(_KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
        try:
            os.link(file.name, path)
        except FileExistsError:
            pass

"""The keys of an issuer, fetched from its key set (RFC 7517), kept while it cannot be reached."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import anyio
import httpx

from api import strict_json
from api.auth.config import MIN_RSA_BITS, Algorithm
from api.auth.tokens import MAX_KEY_ID_CHARACTERS, Key, canonical_bytes, make_key
from api.errors import UnknownKey

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 600.0  # how long a key that was taken back may go on being accepted
RETRY_SECONDS = 15.0  # after a fetch that failed
MIN_INTERVAL_SECONDS = 10.0  # between fetches: anybody can name unknown keys, over and over
FETCH_SECONDS = 5.0  # requests may be waiting for the answer
MAX_BYTES = 256 * 1024  # a key set has a few KB; what has more is something else
MAX_KEYS = 100  # each costs memory for as long as the server lives

Fields = dict[str, str]
"""The public fields of a JWK; what else it has, private parts included, is left behind."""


class JwksKeys:
    """Keys behind a URL. A fetch that fails or brings no usable key leaves them as they were.

    Args:
        url: Where the key set is, https or on this machine.
        algorithm: The only one that is accepted; keys of other kinds are passed over.
        on_change: Called when the keys are no longer the same.
        transport: Takes the place of the network.
    """

    def __init__(
        self,
        url: str,
        algorithm: Algorithm,
        *,
        on_change: Callable[[], None],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._algorithm: Algorithm = algorithm
        self._on_change = on_change
        self._transport = transport
        self._tls = httpx.create_ssl_context()  # once: loading the certificates takes 20 ms
        self._fields: dict[str | None, Fields] = {}
        self._keys: dict[str | None, Key] = {}
        self._fetched_at = float("-inf")
        self._fetching = asyncio.Lock()

    def find(self, kid: str | None) -> Key:
        """The key of that name; without a name, the only key there is.

        Raises:
            UnknownKey: There is none, or several and no way to tell.
        """
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if (key := self._keys.get(kid)) is None:
            raise UnknownKey
        return key

    async def refresh(self) -> bool:
        """Fetch the key set, unless it was fetched within `MIN_INTERVAL_SECONDS`.

        Returns:
            Whether it was tried while this call waited, by it or by another one.
        """
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        async with self._fetching:
            if self._fetched_at >= asked_at:
                return True
            if asked_at < self._fetched_at + MIN_INTERVAL_SECONDS:
                return False
            await self._fetch()
            return True

    async def keep_fresh(self) -> None:
        """Fetch the key set at once and then again and again, for ever."""
        while True:
            async with self._fetching:
                fetched = await self._fetch()
            await asyncio.sleep(REFRESH_SECONDS if fetched else RETRY_SECONDS)

    async def _fetch(self) -> bool:
        try:
            with anyio.fail_after(FETCH_SECONDS):
                text = await self._download()
            fields, keys = read_key_set(strict_json.parse(text), self._algorithm)
        except Exception as error:  # whatever network and issuer do, the old keys stay
            logger.warning("the key set could not be fetched, the old keys stay: %r", error)
            return False
        finally:
            self._fetched_at = asyncio.get_running_loop().time()
        if fields != self._fields:
            self._fields, self._keys = fields, keys
            self._on_change()
        return True

    async def _download(self) -> bytes:
        body = b""
        async with (
            httpx.AsyncClient(transport=self._transport, verify=self._tls) as client,
            client.stream("GET", self._url, headers={"accept-encoding": "identity"}) as response,
        ):
            if response.status_code != 200:  # redirects included: they could lead anywhere
                raise ValueError(f"the answer was {response.status_code}")
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > MAX_BYTES:
                    raise ValueError(f"larger than {MAX_BYTES} bytes")
        return body


def read_key_set(
    document: Any, algorithm: Algorithm
) -> tuple[dict[str | None, Fields], dict[str | None, Key]]:
    """The usable keys of a key set by their names: their public fields, and made for verifying.

    Raises:
        ValueError: It is no key set, or nothing in it fits the algorithm.
    """
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError(f"no key set of up to {MAX_KEYS} keys")
    fields: dict[str | None, Fields] = {}
    keys: dict[str | None, Key] = {}
    for entry in entries:
        try:
            found = _public_fields(entry, algorithm)
            keys[entry.get("kid")] = make_key(found, algorithm)
        except Exception as error:  # one odd key must not hide the others
            logger.info("a key of the key set is passed over: %r", error)
        else:
            fields[entry.get("kid")] = found
    if not keys:
        raise ValueError(f"no key for {algorithm}")
    return fields, keys


def _public_fields(entry: Any, algorithm: Algorithm) -> Fields:
    kty, names = ("RSA", ("n", "e")) if algorithm == "RS256" else ("EC", ("crv", "x", "y"))
    kid = entry.get("kid")
    if kid is not None and not (isinstance(kid, str) and len(kid) <= MAX_KEY_ID_CHARACTERS):
        raise ValueError("kid is no short string")
    if (
        entry.get("kty") != kty
        or entry.get("use", "sig") != "sig"
        or entry.get("alg", algorithm) != algorithm
        or "verify" not in entry.get("key_ops", ["verify"])
    ):
        raise ValueError(f"not for verifying {algorithm}")
    if kty == "EC" and entry.get("crv") != "P-256":
        raise ValueError("another curve")
    if kty == "RSA" and _bits(entry["n"]) < MIN_RSA_BITS:
        raise ValueError("a weak key")
    return {"kty": kty, **{name: str(entry[name]) for name in names}}


def _bits(number: str) -> int:
    return int.from_bytes(canonical_bytes(number.encode()), "big").bit_length()

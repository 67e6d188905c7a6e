"""The algorithms of an SA and their keys as attributes of XFRM messages, and back."""

from typing import Any

from pfkeyx.algorithms import Algorithm, Kind, by_xfrm_name
from pfkeyx.model import SA, Authentication, Encryption, Key
from pfkeyx.xfrm.parts import Told


def algorithm_attributes(sa: SA) -> list[tuple[str, Any]]:
    """Return the attributes of an SA's algorithms."""
    attributes: list[tuple[str, Any]] = []
    if sa.encryption is not None:
        attributes.append(_encryption_attribute(sa.encryption))
    if sa.authentication is not None:
        algorithm = _algorithm_fields(sa.authentication.algorithm.xfrm_name, sa.authentication.key)
        attributes.append(("XFRMA_ALG_AUTH_TRUNC", algorithm | {"alg_trunc_len": sa.authentication.icv_bits}))
    if sa.compression is not None:
        attributes.append(("XFRMA_ALG_COMP", {"alg_name": sa.compression.xfrm_name.encode()}))
    return attributes


def decode_encryption(message: Told) -> Encryption | None:
    """Return the encryption that a message tells of, if it does."""
    aead = message.get_attr("XFRMA_ALG_AEAD")
    if aead:
        icv_bits = aead["alg_icv_len"]
        return Encryption(by_xfrm_name(_name(aead), Kind.AEAD, icv_bits), Key(aead["alg_key"]), icv_bits)
    crypt = message.get_attr("XFRMA_ALG_CRYPT")
    return Encryption(by_xfrm_name(_name(crypt), Kind.ENCRYPTION), Key(crypt["alg_key"])) if crypt else None


def decode_authentication(message: Told) -> Authentication | None:
    """Return the authentication that a message tells of, if it does."""
    auth = message.get_attr("XFRMA_ALG_AUTH_TRUNC")
    if not auth:
        return None
    icv_bits = auth["alg_trunc_len"]
    return Authentication(by_xfrm_name(_name(auth), Kind.AUTHENTICATION, icv_bits), Key(auth["alg_key"]), icv_bits)


def decode_compression(message: Told) -> Algorithm | None:
    """Return the compression that a message tells of, if it does."""
    compression = message.get_attr("XFRMA_ALG_COMP")
    return by_xfrm_name(_name(compression), Kind.COMPRESSION) if compression else None


def _name(algorithm: dict[str, Any]) -> str:
    # Behind the name's end there may be anything.
    return str(algorithm["alg_name"].split(b"\0", 1)[0].decode())


def _encryption_attribute(encryption: Encryption) -> tuple[str, Any]:
    algorithm = _algorithm_fields(encryption.algorithm.xfrm_name, encryption.key)
    if encryption.algorithm.kind is Kind.AEAD:
        return "XFRMA_ALG_AEAD", algorithm | {"alg_icv_len": encryption.icv_bits}
    return "XFRMA_ALG_CRYPT", algorithm


def _algorithm_fields(name: str, key: Key) -> dict[str, Any]:
    return {"alg_name": name.encode(), "alg_key_len": key.bits, "alg_key": key.reveal()}

"""Prints the values that session_cookie.rs expects, made by libsodium: pip install pynacl."""

import base64
import struct

from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as seal

KEY = bytes(range(32))
NONCE = bytes(range(100, 124))
VERSION, KEY_ID = 1, 7
CLUSTER, COOKIE_NAME = b"echo", b"tidegate-echo"
HEAD = bytes([VERSION, KEY_ID])
DATA = b"tidegate session cookie" + HEAD + struct.pack(">Q", len(CLUSTER)) + CLUSTER + COOKIE_NAME


def value(address: bytes, instance: bytes) -> str:
    text = struct.pack(">QQ", 1_700_000_000, 1_700_000_600) + bytes(range(1, 9))
    text += bytes([len(address)]) + address + instance
    return base64.urlsafe_b64encode(HEAD + NONCE + seal(text, DATA, NONCE, KEY)).rstrip(b"=").decode()


print(value(b"10.0.0.9:8080", b""))
print(value(b"[2001:db8::1]:443", b"pod-1"))

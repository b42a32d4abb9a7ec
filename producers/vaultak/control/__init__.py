"""Commands: how they are signed and verified, and the listener that brings them to the agents of this process."""

from vaultak.control.listener import ControlListener
from vaultak.control.signatures import TrustStore, key_id_of, sign, verify

__all__ = ["ControlListener", "TrustStore", "key_id_of", "sign", "verify"]

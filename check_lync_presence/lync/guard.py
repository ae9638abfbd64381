"""What protects a connection once the keys are there: every request signed, every answer and notification verified.

Owns the policy of MS-SIPAE 3.2.5 (what must be signed, what an unsigned message is worth). Must not know how the
signature is made (association).
"""

from __future__ import annotations

from typing import Callable, Dict, Optional

from ..outcome import Cause, PresenceError, Signature
from ..sip.message import Message, Request
from .association import Association, AssociationError, format_auth_header, with_credentials


class AssociationGuard:
    """Signs and verifies with an association.

    `handshake` are the parameters of the last request of the sign-in, where it carries a token: from version 4 on it is
    signed as well.
    `status` is that of the challenge (401 or 407), `call_id` that of the registration.
    """

    def __init__(
        self,
        association: Association,
        status: int,
        handshake: Optional[Dict[str, str]],
        call_id: str,
        token: Callable[[int], str],
    ) -> None:
        self._association = association
        self._status = status
        self._handshake = handshake
        self._call_id = call_id
        self._token = token
        self.unsigned = 0
        self.signature = Signature.MISSING

    def sign(self, message: Message) -> Message:
        handshake, self._handshake = self._handshake, None
        association = self._association
        if handshake is None:
            value = association.credentials(message, self._token(8))
        else:
            if association.version >= 4:
                handshake = {**handshake, **association.sign_as_client(message, self._token(8))}
            value = format_auth_header(association.scheme, handshake)
        return with_credentials(message, self._status, value)

    def accept(self, message: Message) -> bool:
        what = message.method if isinstance(message, Request) else f"answer to {message.cseq.method}"
        self.signature = Signature.WRONG
        try:
            signed = self._association.verify_server(message)
        except AssociationError as error:
            raise PresenceError(Cause.SIGNATURE, f"The {what} has {error}.") from None
        self.signature = Signature.VALID if signed else Signature.MISSING
        if isinstance(message, Request):
            if not signed:
                self.unsigned += 1
                return False
            self._end_of_registration(message)
            return True
        if not signed and message.status < 400:
            raise PresenceError(Cause.SIGNATURE, f"The {what} ({message.status}) is not signed.")
        return True  # a proxy on the way may refuse without knowing our keys, and a challenge has no signature

    def _end_of_registration(self, request: Request) -> None:
        # MS-SIPREGE 4.1.3: the implicit subscription of REGISTER tells an endpoint that it is thrown out.
        body = request.body.decode("utf-8", "replace").strip()
        if request.call_id != self._call_id or not body.lower().startswith("deregistered"):
            return
        event = body.partition("event=")[2].split(";")[0].strip()
        diagnostics = request.all("ms-diagnostics-public") + request.all("ms-diagnostics")
        raise PresenceError(Cause.DEREGISTERED, f"Signed off by the server ({event}).", None, diagnostics, detail=event)

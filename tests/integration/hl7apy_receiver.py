"""hl7apy's MLLP server as a hospital's receiver: `python hl7apy_receiver.py PORT FILE`.

It holds each ORU^R01 to hl7apy's strict validation and writes `control id, patient number, filler, OBX-5, OBX-11` to
FILE before it answers AA. Messages about a patient number that begins with `unknown` get AR, and with `busy` AE until
`FILE.free` is there. This server closes the connection after each answer.
"""

import os
import sys
from pathlib import Path

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message
from hl7apy.mllp import AbstractHandler, MLLPServer
from hl7apy.parser import parse_message


class Oru(AbstractHandler):
    def __init__(self, message: str, out: Path) -> None:
        super().__init__(message)
        self._out = out

    def reply(self) -> str:
        oru = parse_message(self.incoming_message, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
        oru.validate()
        patient = oru.oru_r01_patient_result
        order = patient.oru_r01_order_observation
        number = patient.oru_r01_patient.pid.pid_3.pid_3_1.value
        if number.startswith("unknown"):
            return answer(oru, "AR")
        if number.startswith("busy") and not self._out.with_suffix(".free").exists():
            return answer(oru, "AE")
        result = order.oru_r01_observation.obx
        told = (oru.msh.msh_10.value, number, order.obr.obr_3.value, result.obx_5.value, result.obx_11.value)
        with self._out.open("a") as file:
            file.write("\t".join(told) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return answer(oru, "AA")


def answer(oru: Message, code: str) -> str:
    ack = Message("ACK", version=oru.version)
    ack.msh.msh_9, ack.msh.msh_10 = "ACK", f"A{oru.msh.msh_10.value}"
    ack.msa.msa_1, ack.msa.msa_2 = code, oru.msh.msh_10.value
    if code != "AA":
        ack.add_segment("ERR")
        ack.err.err_2, ack.err.err_3, ack.err.err_4 = "PID^1^3", "204^Unknown key identifier^HL70357", "E"
        ack.err.err_8 = f"nobody has {oru.oru_r01_patient_result.oru_r01_patient.pid.pid_3.value}"
    return ack.to_mllp()


if __name__ == "__main__":
    handlers = {"ORU^R01^ORU_R01": (Oru, Path(sys.argv[2]))}
    MLLPServer("127.0.0.1", int(sys.argv[1]), handlers).serve_forever()

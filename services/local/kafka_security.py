"""A secured local Kafka: TLS everywhere, SCRAM users, client certificates, and rights that are denied unless granted.

As production has it, so that tests can show that every client gets in, and no further than it may. Each broker has two
listeners: SASL_SSL for user names and passwords, SSL for clients that show a certificate, whose principal is its common
name. Brokers and controllers speak to each other by certificate.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MECHANISM = "SCRAM-SHA-512"
_AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


@dataclass(frozen=True)
class Security:
    """PEM files and users.

    `certificate`: the brokers' private key (PKCS #8) and certificate, for 127.0.0.1, as server and as client.
    `authority`: who signs them and the clients. `users`: names and passwords. `administrator`: a user who may do
    everything; the others may do nothing until they are granted it. `broker`: the certificate's common name.
    """

    certificate: Path
    authority: Path
    users: Mapping[str, str] = field(repr=False)
    administrator: str
    broker: str = "broker"

    def properties(self) -> dict[str, object]:
        """What server.properties says of it."""
        by_certificate = {f"listener.name.{name}.ssl.client.auth": "required" for name in ("ssl", "controller")}
        return by_certificate | {
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:SSL",
            "inter.broker.listener.name": "SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self.certificate,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.authority,
            "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
            "sasl.enabled.mechanisms": MECHANISM,
            f"listener.name.sasl_ssl.{MECHANISM.lower()}.sasl.jaas.config": _LOGIN,
            "authorizer.class.name": _AUTHORIZER,
            "super.users": f"User:{self.broker};User:{self.administrator}",
        }

    def format_arguments(self) -> list[str]:
        """What the storage tool is told, so that the users are there from the first start."""
        users = (f"{MECHANISM}=[name={name},password={password}]" for name, password in self.users.items())
        return [argument for user in users for argument in ("--add-scram", user)]

    def client(self) -> dict[str, Any]:
        """Arguments of an administrator's client."""
        return {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": MECHANISM,
            "sasl_plain_username": self.administrator,
            "sasl_plain_password": self.users[self.administrator],
            "ssl_context": ssl.create_default_context(cafile=str(self.authority)),
        }

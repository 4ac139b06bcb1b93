"""TLS and SASL reach both clients, librdkafka and aiokafka: a whole system on a broker that asks for them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization

from streams.broker import EmbeddedBroker, embedded
from streams.errors import BrokerError
from tests.recovery.invariants import assert_nothing_lost
from tests.recovery.system import System
from tests.recovery.workload import Workload

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]

USER, PASSWORD = "anna", "a secret, with = and ;"
_MODULES = {
    "PLAIN": ("plain.PlainLoginModule", f' user_{USER}="{PASSWORD}"'),
    "SCRAM-SHA-512": ("scram.ScramLoginModule", ""),
}


def listener(protocol: str, mechanism: str | None, port: int) -> dict[str, str]:
    """Properties of a listener that asks for `protocol`, and for passwords by `mechanism`."""
    own = f"listener.name.{protocol.lower()}"
    properties = {
        "listeners": f"{protocol}://127.0.0.1:{port}",
        "advertised.listeners": f"{protocol}://127.0.0.1:{port}",
        "listener.security.protocol.map": f"{protocol}:{protocol}",
    }
    if "SSL" in protocol:
        properties |= {
            f"{own}.ssl.keystore.type": "PEM",
            f"{own}.ssl.keystore.location": "server.pem",
            f"{own}.ssl.truststore.type": "PEM",
            f"{own}.ssl.truststore.location": "authority.pem",
            f"{own}.ssl.client.auth": "none" if mechanism else "required",
        }
    if mechanism:
        module, users = _MODULES[mechanism]
        properties |= {
            "sasl.enabled.mechanisms": mechanism,
            f"{own}.{mechanism.lower()}.sasl.jaas.config": (
                f"org.apache.kafka.common.security.{module} required{users};"
            ),
        }
    return properties


def with_listener(text: str, extra: dict[str, str]) -> str:
    """The properties of the embedded broker with one more listener beside its own."""
    properties = dict(line.split("=", 1) for line in text.splitlines())
    for name, value in extra.items():
        properties[name] = f"{properties[name]},{value}" if name in properties else value
    return "".join(f"{name}={value}\n" for name, value in properties.items())


def certificates(folder: Path) -> dict[str, str]:
    """Write what broker and client need into `folder`; returns the client's settings."""
    folder.mkdir(parents=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    server = authority.issue_cert("127.0.0.1")
    key = serialization.load_pem_private_key(server.private_key_pem.bytes(), password=None)
    pkcs8 = key.private_bytes(  # the only form that Kafka reads
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(pkcs8 + server.cert_chain_pems[0].bytes())
    client = authority.issue_cert("client.example")
    client.private_key_pem.write_to_path(folder / "client.key")
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    return {
        "kafka__ssl_ca_location": str(folder / "authority.pem"),
        "kafka__ssl_certificate_location": str(folder / "client.pem"),
        "kafka__ssl_key_location": str(folder / "client.key"),
    }


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [("SSL", None), ("SASL_SSL", "PLAIN"), ("SASL_PLAINTEXT", "SCRAM-SHA-512")],
)
def test_a_broker_that_asks_who_we_are_is_served_and_strangers_are_told_so(
    own_broker: Callable[..., EmbeddedBroker],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
    mechanism: str | None,
) -> None:
    tls = certificates(tmp_path / "broker")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    plain = embedded.server_properties
    monkeypatch.setattr(
        embedded,
        "server_properties",
        lambda **ports: with_listener(plain(**ports), listener(protocol, mechanism, port)),
    )
    open_address = own_broker().start()
    given = {"kafka__security_protocol": protocol, "kafka__session_timeout_s": "6"}
    if "SSL" in protocol:
        given |= tls
    if mechanism:
        given |= {"kafka__sasl_mechanism": mechanism, "kafka__sasl_username": USER}
        make_user(open_address)
        with pytest.raises(BrokerError):
            System(f"127.0.0.1:{port}", tmp_path / "stranger", **given, kafka__sasl_password="a guess")
        given |= {"kafka__sasl_password": PASSWORD}
    with System(f"127.0.0.1:{port}", tmp_path / "system", **given) as system:
        for role in ("indexer", "searcher"):
            system.start(role)
        system.publish(Workload(seed=90, partitions=2).take(20))
        assert_nothing_lost(system)


def make_user(address: str) -> None:
    """A user for SCRAM, which Kafka keeps itself; made where nobody is asked."""
    credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    change = UserScramCredentialUpsertion(USER, credential, PASSWORD.encode())
    admin = AdminClient({"bootstrap.servers": address})
    admin.alter_user_scram_credentials([change])[USER].result(30)

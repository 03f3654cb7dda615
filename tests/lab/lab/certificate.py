# SPDX-License-Identifier: Apache-2.0
"""A throw-away certificate, and both ends of a TLS connection around it."""
import ssl
import subprocess

from .sock import Background


class TlsPair:
    def __init__(self, folder):
        self.key, self.certificate = folder / "key.pem", folder / "certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=name.test",
                        "-addext", "subjectAltName=DNS:name.test,DNS:localhost,IP:127.0.0.1",
                        "-keyout", self.key, "-out", self.certificate],
                       check=True, capture_output=True)
        self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server_context.load_cert_chain(self.certificate, self.key)
        self.client_context = ssl.create_default_context(cafile=str(self.certificate))

    def serve_one(self, network, listener):
        """Answer one connection with its first message reversed; returns a Background."""
        def work():
            with self.server_context.wrap_socket(network.accept(listener), server_side=True) as s:
                data = s.recv(1000)
                s.sendall(data[::-1])
                assert s.recv(1) == b""
                return data
        return Background(work)

# SPDX-License-Identifier: Apache-2.0
"""An nginx of our own in a namespace of our own: HTTP, HTTPS, and a git repository."""
import os
import subprocess

from lab.limpid import listening
from lab.sock import eventually

CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
	types {{ text/html html; text/css css; text/javascript js; image/svg+xml svg; }}
	access_log {folder}/access.log;
	client_body_temp_path {folder}/body;
	proxy_temp_path {folder}/proxy;
	fastcgi_temp_path {folder}/fastcgi;
	uwsgi_temp_path {folder}/uwsgi;
	scgi_temp_path {folder}/scgi;
	server {{
		listen {v4}:{http};
		listen [{v6}]:{http};
		listen {v4}:{https} ssl;
		listen [{v6}]:{https} ssl;
		ssl_certificate {certificate};
		ssl_certificate_key {key};
		root {root};
	}}
}}
"""


class Nginx:
    def __init__(self, namespace, folder, root, tls, addresses, ports):
        os.makedirs(folder)
        path = folder / "nginx.conf"
        path.write_text(CONFIG.format(folder=folder, root=root, certificate=tls.certificate,
                                      key=tls.key, v4=addresses[4], v6=addresses[6],
                                      http=ports["http"], https=ports["https"]),
                        encoding="utf-8")
        env = dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        with namespace.enter(), open(folder / "stderr", "wb") as err:
            # pylint: disable-next=consider-using-with
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", "nginx", "-p", str(folder), "-c",
                 str(path)], env=env, stdin=subprocess.DEVNULL, stdout=err, stderr=err)

        def up():
            assert self.process.poll() is None, (folder / "stderr").read_text()
            return {("tcp", ports["https"]), ("tcp6", ports["https"])} <= \
                listening(self.process.pid)
        eventually(up, "nginx listens")

    def close(self):
        self.process.terminate()
        self.process.wait()

"""A server of files for the tests, on this machine only."""

import contextlib
import functools
import http.server
import re
import threading
from pathlib import Path


class WholeFiles(http.server.SimpleHTTPRequestHandler):
    """Gives whole files, whatever part is asked for, as the server of Python does."""

    def log_message(self, *_):
        pass


class PartsOfFiles(WholeFiles):
    """Gives the bytes that are asked for; `sent` counts them."""

    sent = 0

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not path.is_file() or not asked:
            super().do_GET()
            return
        first, last = int(asked[1]), min(int(asked[2]), path.stat().st_size - 1)
        content = path.read_bytes()[first : last + 1]
        PartsOfFiles.sent += len(content)
        self.send_response(206)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Range", f"bytes {first}-{last}/{path.stat().st_size}")
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def served(folder, handler=PartsOfFiles):
    """The address of a folder while it is served."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()

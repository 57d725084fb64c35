"""The server of ``cosim view``: answers to addresses, over HTTP, for who has the secret address; it only reads.

    /SECRET/                       all results, what is under way first
    /SECRET/at/FOLDER/page.html    the page of results, made from their tables
    /SECRET/at/FOLDER/FILE         a file of results, which runs no script
    /SECRET/live/FOLDER            what is under way
    /SECRET/compare?run=A&run=B    two runs side by side
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
import socketserver
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from cosim.errors import InputError, shortened
from cosim.results.folders import PAGE_FILE
from cosim.results.pages.keys import keys_page
from cosim.results.pages.page import LIBRARY_FILE, Page, library_source, rendered
from cosim.results.underway.reading import underway_at
from cosim.sweep.storage.store import RUN_PREFIX, RUNS_FOLDER
from cosim.view.building import Builder
from cosim.view.catalogue import Catalogue, kind_of
from cosim.view.inside import Inside, Refused, linked
from cosim.view.listing import list_page
from cosim.view.live import ended, run_under_way, sweep_under_way

SCRIPT = "view.js"
_HTML, _PLAIN, _JAVASCRIPT = "text/html; charset=utf-8", "text/plain; charset=utf-8", "text/javascript; charset=utf-8"
_TYPES = {".csv": _PLAIN, ".json": _PLAIN, ".yaml": _PLAIN, ".txt": _PLAIN, ".md": _PLAIN, ".log": _PLAIN,
          ".png": "image/png", ".html": _HTML, ".parquet": "application/vnd.apache.parquet"}  # fmt: skip
"""Files of results that are given out, and as what; all but pages that are made here run no script."""
_MOST_BYTES = 256_000_000
_DEEPEST_FILE = 3
_FOUND = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'"
_MADE = "frame-ancestors 'none'; object-src 'none'"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets: status, content and its type, policy for a browser, and whether it may be kept a while."""

    status: HTTPStatus
    kind: str
    content: bytes
    policy: str = _FOUND
    kept_s: int = 0
    location: str = ""


@dataclass
class Viewer:
    """Answers to addresses of one folder.

    Args:
        root: the folder.

    Attributes:
        secret: first name of all addresses, so that other users of the machine, and pages of other sites, have none.

    Raises:
        InputError: there is no such folder.
    """

    root: Path
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise InputError("no folder to show", key="DIR", value=str(self.root), allowed="a folder of results")
        self.inside = Inside(self.root)
        self.catalogue = Catalogue(self.inside)
        self.builder = Builder(self.inside)

    def answer(self, target: str) -> Answer:
        """The answer to the target of a GET request."""
        path, _, query = target.partition("?")
        try:
            names = unquote(path, errors="strict").split("/")
        except UnicodeDecodeError:
            return _told(HTTPStatus.BAD_REQUEST, "The address is not text in UTF-8.")
        if names[0] != "" or len(names) < 2:
            return _told(HTTPStatus.BAD_REQUEST, "The address has to begin with a slash.")
        if not hmac.compare_digest(names[1].encode(), self.secret.encode()):
            return _told(HTTPStatus.FORBIDDEN, "Open the whole address that cosim view has told.")
        rest = names[2:]
        to_root = "../" * (len(rest) - 1) or "./"
        try:
            return self._answer(rest, query, to_root)
        except Refused as refused:
            return self._sorry(HTTPStatus.NOT_FOUND, "There is nothing to show", str(refused), to_root)
        except InputError as error:
            return self._sorry(HTTPStatus.NOT_FOUND, "This cannot be shown", shortened(str(error)), to_root)

    def _answer(self, names: list[str], query: str, to_root: str) -> Answer:
        match names:
            case []:
                return Answer(HTTPStatus.PERMANENT_REDIRECT, _PLAIN, b"", location=f"/{self.secret}/")
            case [""]:
                return _page(list_page(self.catalogue, self.root.resolve().name or str(self.root), SCRIPT))
            case ["view.js"]:
                return Answer(HTTPStatus.OK, _JAVASCRIPT, self._script)
            case ["keys.html"]:
                return Answer(HTTPStatus.OK, _HTML, keys_page().encode(), _MADE)
            case ["plotly.min.js"]:
                return Answer(HTTPStatus.OK, _JAVASCRIPT, self._library, kept_s=3600)
            case ["compare"]:
                return self._pair(parse_qs(query, max_num_fields=10).get("run", []), to_root)
            case ["live", *folder]:
                return self._live("/".join(folder), to_root)
            case ["at", *folder, file]:
                return self._file("/".join(folder), file, to_root)
        raise Refused("no page has this address")

    @cached_property
    def _library(self) -> bytes:
        return library_source().read_bytes()

    @cached_property
    def _script(self) -> bytes:
        return (resources.files("cosim.view") / SCRIPT).read_bytes()

    def _file(self, address: str, file: str, to_root: str) -> Answer:
        folder = self.inside.place(address)
        if file == PAGE_FILE:
            return Answer(HTTPStatus.OK, _HTML, self._made(folder, to_root), _MADE)
        kind = _TYPES.get(Path(file).suffix)
        place = self.inside.place(f"{address}/{file}" if address else file)
        if kind is None or not self._is_of_results(place):
            raise Refused("this file is not one of results")
        return Answer(HTTPStatus.OK, kind, self.inside.content(place, _MOST_BYTES))

    def _made(self, folder: Path, to_root: str) -> bytes:
        """The page of a folder, made from what is in it."""
        if not folder.is_dir():
            raise Refused("there is nothing at this address")
        kind = kind_of(folder)
        if kind is not None:
            return self.builder.page(kind, folder, to_root)
        above = folder.parent.parent
        if folder.parent.name == RUNS_FOLDER and folder.name.startswith(RUN_PREFIX) and above.is_relative_to(
            self.inside.root
        ) and kind_of(above) == "sweep":
            return self.builder.run_of_sweep(above, folder.name.removeprefix(RUN_PREFIX), to_root)
        raise Refused("the folder holds no results")

    def _is_of_results(self, file: Path) -> bool:
        """Whether a file lies in a folder of results, or not far below."""
        for folder in list(file.parents)[:_DEEPEST_FILE]:
            if not folder.is_relative_to(self.inside.root):
                return False
            if kind_of(folder) is not None:
                return True
        return False

    def _pair(self, addresses: list[str], to_root: str) -> Answer:
        if len(addresses) != 2 or addresses[0] == addresses[1]:
            raise Refused("two different runs are to be ticked")
        folders = {address or ".": self.inside.place(address) for address in addresses}
        if any(not f.is_dir() or kind_of(f) != "run" for f in folders.values()):
            raise Refused("what is compared has to be two runs that have ended")
        return Answer(HTTPStatus.OK, _HTML, self.builder.pair(folders, to_root), _MADE)

    def _live(self, address: str, to_root: str) -> Answer:
        above, _, name = address.rpartition("/")
        if address and name.startswith("."):
            raise Refused("an address has names alone")
        script = f"{to_root}{SCRIPT}"
        place = (self.inside.place(above) / name) if address else self.inside.root
        found = underway_at(place) if address else None
        if found is not None and (found.alive or not place.exists()):
            page = run_under_way(found, address, script)
        elif place.is_dir() and kind_of(self.inside.place(address)) == "sweep":
            page = sweep_under_way(self.catalogue.watch.state(self.inside.place(address)), address, script)
            page.links = [("All its runs so far", f"{to_root}at/{linked(address)}/{PAGE_FILE}")]
        else:
            page = ended(address, place.is_dir() and kind_of(self.inside.place(address)) is not None, to_root)
            return _page(page, library=f"{to_root}{LIBRARY_FILE}")
        page.links = [("All results", to_root), *page.links]
        return _page(page, library=f"{to_root}{LIBRARY_FILE}")

    def _sorry(self, status: HTTPStatus, title: str, reason: str, to_root: str) -> Answer:
        page = Page(title=title, lead="", links=[("All results", to_root)], told=[f"{reason[:1].upper()}{reason[1:]}."])
        page.follows = ""
        content = rendered(page, f"{to_root}{LIBRARY_FILE}").encode(errors="replace")
        return Answer(status, _HTML, content, _MADE)


def _page(page: Page, library: str = LIBRARY_FILE) -> Answer:
    return Answer(HTTPStatus.OK, _HTML, rendered(page, library).encode(errors="replace"), _MADE)


def _told(status: HTTPStatus, text: str) -> Answer:
    return Answer(status, _PLAIN, f"{text}\n".encode())


class ViewServer(ThreadingHTTPServer):
    """Listens at an address and answers until it is shut down.

    Args:
        viewer: what gives the answers. host: address to listen at. port: 0 for a free one.

    Raises:
        OSError: it cannot listen there.
    """

    daemon_threads = True

    def __init__(self, viewer: Viewer, host: str = "127.0.0.1", port: int = 0) -> None:
        self.viewer, self.host = viewer, host
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Listen, without asking for the name of the machine, which may take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, self.server_address[1]

    @property
    def address(self) -> str:
        """The address to open in a browser."""
        shown = "127.0.0.1" if self.host in ("0.0.0.0", "::", "localhost") else self.host
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{self.server_port}/{self.viewer.secret}/"

    @cached_property
    def names(self) -> frozenset[str]:
        """Names by which a browser may call this machine."""
        own = () if is_loopback(self.host) else (self.host, socket.gethostname().lower())
        return frozenset({*_LOOPBACK, *own})

    def is_called(self, host: str) -> bool:
        """Whether a ``Host`` header names this machine; a name of somebody else's would come from a foreign page."""
        name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
        return name.lower() in self.names or (not is_loopback(self.host) and _is_number(name))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that has gone away is no error to tell of."""


def is_loopback(host: str) -> bool:
    """Whether an address to listen at is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD for those who call this machine by its name; nothing else."""

    server: ViewServer
    timeout = 20
    server_version, sys_version = "cosim", ""

    def do_GET(self) -> None:
        """Answer."""
        self._send(self._answer(), body=True)

    def do_HEAD(self) -> None:
        """Answer without content."""
        self._send(self._answer(), body=False)

    def _refuse(self) -> None:
        self.close_connection = True
        self._send(_told(HTTPStatus.METHOD_NOT_ALLOWED, "Nothing is written here."), True, [("Allow", "GET, HEAD")])

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _answer(self) -> Answer:
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or not self.server.is_called(hosts[0].strip()):
            return _told(HTTPStatus.FORBIDDEN, "This is not a name of this machine.")
        try:
            return self.server.viewer.answer(self.path)
        except Exception as error:  # a folder that changes while it is read, a damaged table
            said = shortened(f"This cannot be shown: {type(error).__name__}: {error}")
            return _told(HTTPStatus.INTERNAL_SERVER_ERROR, said)

    def _send(self, answer: Answer, body: bool, more: Iterable[tuple[str, str]] = ()) -> None:
        self.send_response(answer.status)
        headers = {
            "Content-Type": answer.kind, "Content-Length": str(len(answer.content)),
            "Content-Security-Policy": answer.policy, "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": f"private, max-age={answer.kept_s}" if answer.kept_s else "no-store",
        }  # fmt: skip
        if answer.policy == _MADE:  # the HTML standard makes it an error in a page that is a sandbox
            headers["Cross-Origin-Opener-Policy"] = "same-origin"
        if answer.location:
            headers["Location"] = answer.location
        for name, value in (*headers.items(), *more):
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(answer.content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is told of requests."""



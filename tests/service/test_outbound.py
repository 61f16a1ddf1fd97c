"""The way out to media hosts: which links are followed, to which addresses, and how a wait ends."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import sys
import threading
import time
from functools import partial
from pathlib import Path

import certifi
import httpx
import pytest

from kit.service import outbound
from kit.service.outbound import Forbidden, media_client

AUTHORITIES = certifi.where()
NAME = "media.example"
GOOD = ["93.184.216.34", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"]

# A certificate for media.example alone and its key, good from 2020 to 2120 and for nothing but these tests
# (openssl ca -selfsign, P-256, CA:TRUE, keyUsage digitalSignature and keyCertSign).
KEY = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgXLKGLFTTzUo8b/UZ
NIluI/iFeRNWdsCxKQ1ejo3/rTihRANCAAT4kqdkdCreeSa5CFVcvoh4498JkF/E
NJ5vjCvYlyy9OYO+QeQy5j2W6E1i3AHyigklxJ2J8yo73zZOblyaa7dW
-----END PRIVATE KEY-----
"""
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBfDCCASOgAwIBAgIBATAKBggqhkjOPQQDAjAYMRYwFAYDVQQDDA1tZWRpYS5l
eGFtcGxlMCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAYMRYwFAYD
VQQDDA1tZWRpYS5leGFtcGxlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE+JKn
ZHQq3nkmuQhVXL6IeOPfCZBfxDSeb4wr2JcsvTmDvkHkMuY9luhNYtwB8ooJJcSd
ifMqO982Tm5cmmu3VqNcMFowGAYDVR0RBBEwD4INbWVkaWEuZXhhbXBsZTAPBgNV
HRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwIChDAdBgNVHQ4EFgQUPQN3a4whFyde
1o3/qQ8o4hq4HeYwCgYIKoZIzj0EAwIDRwAwRAIgMTgSLMGpblQxBKPz/FI1ECoe
bzmQfkxFuJL+CdjDgyACIFCTN33E1Wvc53L5fO5AbqmOacToYHIUJdrJVfLn1U31
-----END CERTIFICATE-----
"""


class Host:
    """Answers each connection with what `say(connection)` does after the request's head, which `heads` keeps."""

    def __init__(self, say, tls=None, *, speaks_first=False):
        self._speaks_first = speaks_first
        self.heads, self.names, self.ended = [], [], threading.Event()
        self._say, self._tls = say, tls
        if tls is not None:
            tls.sni_callback = lambda _sock, name, _context: self.names.append(name)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = self._server.getsockname()
        self.origin = f"http://127.0.0.1:{self.address[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while not self.ended.is_set():
            with self._server.accept()[0] as connection, contextlib.suppress(OSError):
                connection.settimeout(20)
                if self.ended.is_set():
                    return
                if self._speaks_first:
                    self._say(connection)
                elif self._tls is None:
                    self._answer(connection)
                else:
                    with self._tls.wrap_socket(connection, server_side=True) as wrapped:
                        self._answer(wrapped)

    def _answer(self, connection):
        head = b""
        while b"\r\n\r\n" not in head:
            if not (piece := connection.recv(65536)):
                return
            head += piece
        self.heads.append(head.decode("latin-1"))
        self._say(connection)

    def close(self):
        """End, together with the connection in hand."""
        self.ended.set()
        with contextlib.suppress(OSError), socket.create_connection(self.address, 5):
            pass
        self._thread.join(20)
        self._server.close()


def saying(raw):
    """Return what a host says who always says the same."""
    return lambda connection: connection.sendall(raw)


def reply(body=b"hello", *, status="200 OK", more=""):
    """Return a whole answer as bytes."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


@pytest.fixture
def hosted():
    """Make hosts that are ended with the test."""
    with contextlib.ExitStack() as hosts:

        def make(*given, **how):
            host = Host(*given, **how)
            hosts.callback(host.close)
            return host

        yield make


class World:
    """The internet as the resolver and the network tell it: `names` holds the answers of each name, one a look-up."""

    def __init__(self):
        self.names, self.looked_up, self.connected, self.door = {}, [], [], None

    def getaddrinfo(self, host, port, *_args, **_kwargs):
        """Answer as the resolver does; the last answer of a name stays."""
        self.looked_up.append(host)
        answers = self.names.get(host, [[host]])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return [self._entry(address, port) for address in answer]

    def _entry(self, address, port):
        if ":" not in address:
            return socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)
        plain, _, zone = address.partition("%")
        return socket.AF_INET6, socket.SOCK_STREAM, 6, "", (plain, port, 0, int(zone or 0))

    def connect_ex(self, sock, address):
        """Lead every connection to `door`, or refuse it where there is none."""
        self.connected.append(address[:2])
        if self.door is None or sock.family != socket.AF_INET:
            return errno.ECONNREFUSED
        return self.real_connect_ex(sock, self.door)


@pytest.fixture
def world(monkeypatch):
    """Have a small internet in place of the system's resolver and network."""
    world = World()
    world.real_connect_ex = socket.socket.connect_ex
    monkeypatch.setattr(socket, "getaddrinfo", world.getaddrinfo)

    def connect_ex(sock, address):  # a function, which a socket binds as its method
        return world.connect_ex(sock, address)

    monkeypatch.setattr(socket.socket, "connect_ex", connect_ex)
    return world


@pytest.fixture(autouse=True)
def vouched(tmp_path, monkeypatch):
    """Have the certificate vouched for as the public ones are, in a file that is read faster than theirs."""
    path = tmp_path / "vouched.pem"
    path.write_text(CERTIFICATE)
    monkeypatch.setattr(certifi, "where", lambda: str(path))
    outbound._tls.cache_clear()  # they are read once for all clients
    yield path
    outbound._tls.cache_clear()


@pytest.fixture
def tls(tmp_path):
    """A host's side of TLS with the certificate."""
    both = tmp_path / "both.pem"
    both.write_text(KEY + CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context


@pytest.fixture
def deaf():
    """A host that takes connections and neither reads nor speaks."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def full():
    """The origin of a host whose queue of connections is full, so that none is taken any more."""
    if not sys.platform.startswith("linux"):
        pytest.skip("other systems refuse at once where a queue is full")
    with contextlib.ExitStack() as open_ones:
        server = open_ones.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = open_ones.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def client(*listed, stop=None):
    """Return a client as the archive makes it."""
    return media_client(listed, user_agent="callboard-test", stop=stop or threading.Event())


def test_a_listed_origin_is_asked_wherever_it_is(hosted):
    """A local provider's files come from loopback, by plain http, on any port."""
    host = hosted(saying(reply()))

    with client(host.origin) as media:
        answer = media.get(host.origin + "/cover.png?x=1")

    assert (200, b"hello") == (answer.status_code, answer.content)
    assert host.heads[0].startswith("GET /cover.png?x=1 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "link",
    [
        "http://127.0.0.1:9999/",  # another port
        "http://127.0.0.1/",
        "https://127.0.0.1:4321/",  # another scheme
        "http://localhost:4321/",  # another spelling of the same
        "http://127.1:4321/",
        "http://[::ffff:127.0.0.1]:4321/",
        "http://user@127.0.0.1:4321/",
        "http://user:word@127.0.0.1:4321/",
        "http://media.example/",
        "http://media.example:443/",
        "https://media.example:80/",
        "https://media.example:8443/",
        "https://media.example:0/",
        "https://user:word@media.example/",
        "https://127.0.0.1:4321@media.example/",
        "ftp://media.example/",
        "file:///etc/passwd",
        "file://media.example/etc/passwd",
        "gopher://127.0.0.1:4321/",
        "ws://127.0.0.1:4321/",
        "wss://media.example/",
        "data:text/plain,x",
        "javascript:alert(1)",
        "https:///x",
        "https:x",
        "//media.example/x",
        "/etc/passwd",
        "",
    ],
)
def test_a_link_of_another_kind_is_not_followed(world, link):
    """Neither plain http nor another scheme, another port, a password or another spelling; no name is looked up."""
    with client("http://127.0.0.1:4321") as media, pytest.raises((Forbidden, httpx.UnsupportedProtocol)):
        media.get(link)

    assert ([], []) == (world.looked_up, world.connected)


def test_the_reason_names_nothing_of_the_link_but_its_port(world):
    """What stands in a table of files must not carry a password or a signed query."""
    world.names[NAME] = [["10.0.0.1"]]
    said = []
    ways = ("https:///", f"https://user:word@{NAME}/", f"http://{NAME}/", f"https://{NAME}:444/", f"https://{NAME}/")
    for link in (way + "p?sig=key" for way in ways):
        with client() as media, pytest.raises(Forbidden) as refusal:
            media.get(link)
        said.append(str(refusal.value))

    assert [
        "the link names no host",
        "the link carries a user name or a password",
        "the link is not https",
        "the link asks for port 444 where https has 443",
        "the link's host is at 10.0.0.1, which is no public address",
    ] == said


@pytest.mark.parametrize(
    "bad", ["127.0.0.1", "169.254.169.254", "10.1.2.3", "64:ff9b::7f00:1", "fe80::1", "2001:db8::1"]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bad_address_among_several_refuses_all(world, bad, place):
    """A name that leads to a public host and to this machine is a trap, whichever comes first."""
    world.names[NAME] = [[*GOOD[:place], bad, *GOOD[place:]]]

    with client() as media, pytest.raises(Forbidden, match="no public address"):
        media.get(f"https://{NAME}/")

    assert [] == world.connected


def test_a_public_address_with_a_zone_is_refused(world):
    """It would be reached by one interface of this machine, which no public host needs."""
    world.names[NAME] = [[GOOD[1] + "%2"]]

    with client() as media, pytest.raises(Forbidden):
        media.get(f"https://{NAME}/")

    assert [] == world.connected


@pytest.mark.parametrize("spelling", ["2130706433", "0x7f000001", "0177.1", "127.1", "localhost.", "bücher.example"])
def test_an_odd_spelling_is_judged_by_the_address_it_has(world, spelling):
    """The text of a host says nothing; what the resolver makes of it does."""
    world.names = {name: [["127.0.0.1"]] for name in (spelling, "xn--bcher-kva.example")}

    with client() as media, pytest.raises(Forbidden, match=r"127\.0\.0\.1"):
        media.get(f"https://{spelling}/")

    assert (1, []) == (len(world.looked_up), world.connected)


def test_an_answer_that_flips_meets_one_look_up_and_its_own_connection(world, hosted, tls):
    """The first answer is judged and connected, without asking again; the second is judged anew."""
    host = hosted(saying(reply()), tls)
    world.door, world.names[NAME] = host.address, [["93.184.216.34"], ["127.0.0.1"]]

    with client() as media:
        first = media.get(f"https://{NAME}/")
        with pytest.raises(Forbidden):
            media.get(f"https://{NAME}/")

    assert 200 == first.status_code
    assert [NAME, NAME] == world.looked_up
    assert [("93.184.216.34", 443)] == world.connected


def test_a_redirect_is_not_followed_and_its_target_is_one_more_link(world, hosted, tls):
    """The answer says where it leads; asked for, that is judged like the first."""
    host = hosted(saying(reply(b"", status="302 Found", more="Location: https://inside.example/\r\n")), tls)
    world.door, world.names = host.address, {NAME: [["93.184.216.34"]], "inside.example": [["169.254.169.254"]]}

    with client() as media:
        answer = media.get(f"https://{NAME}/")
        with pytest.raises(Forbidden):
            media.send(answer.next_request)

    assert 302 == answer.status_code
    assert [("93.184.216.34", 443)] == world.connected


def test_tls_asks_for_the_name_though_the_address_is_connected(world, hosted, tls):
    """The server is told the host's name, in TLS and in the request, and has to prove it."""
    host = hosted(saying(reply()), tls)
    world.door, world.names[NAME] = host.address, [["93.184.216.34"]]

    with client() as media:
        media.get(f"https://{NAME}/", extensions={"sni_hostname": "other.example"})

    assert [NAME] == host.names
    assert f"\r\nHost: {NAME}\r\n" in host.heads[0]


def test_a_certificate_for_another_name_is_refused(world, hosted, tls):
    """Who holds the address but not the name gets no request."""
    host = hosted(saying(reply()), tls)
    world.door, world.names["other.example"] = host.address, [["93.184.216.34"]]

    with client() as media, pytest.raises(httpx.ConnectError, match=r"'other\.example'"):
        media.get("https://other.example/")

    assert [] == host.heads


def test_a_certificate_that_only_the_environment_vouches_for_is_refused(world, hosted, tls, vouched, monkeypatch):
    """A variable does not open the way."""
    host = hosted(saying(reply()), tls)
    world.door, world.names[NAME] = host.address, [["93.184.216.34"]]
    monkeypatch.setattr(certifi, "where", lambda: AUTHORITIES)
    outbound._tls.cache_clear()
    monkeypatch.setenv("SSL_CERT_FILE", str(vouched))

    with client() as media, pytest.raises(httpx.ConnectError, match="verify failed"):
        media.get(f"https://{NAME}/")

    assert [] == host.heads


def test_a_body_without_length_that_tls_did_not_end_is_broken(world, hosted, tls):
    """Whoever cuts the line could otherwise shorten a file unseen."""
    host = hosted(saying(b"HTTP/1.1 200 OK\r\n\r\nhalf"), tls)
    world.door, world.names[NAME] = host.address, [["93.184.216.34"]]

    with client() as media, pytest.raises(httpx.ReadError):
        media.get(f"https://{NAME}/")

    assert 1 == len(host.heads)


def test_the_addresses_are_tried_in_turn_with_the_families_alternating(world):
    """Four of them, so that neither a dead family nor a host with a hundred addresses takes long."""
    six, four = [f"2606:2800::{n}" for n in (1, 2, 3)], [f"93.184.216.{n}" for n in (1, 2, 3)]
    world.names[NAME] = [six + four]

    with client() as media, pytest.raises(httpx.ConnectError, match="refused"):
        media.get(f"https://{NAME}/")

    assert [six[0], four[0], six[1], four[1]] == [address for address, _ in world.connected]


def test_a_dead_address_costs_no_more_than_the_next_one(world, hosted, tls):
    """What the first does not answer the second does."""
    host = hosted(saying(reply()), tls)
    world.door, world.names[NAME] = host.address, [GOOD[::-1]]

    with client() as media:
        answer = media.get(f"https://{NAME}/")

    assert 200 == answer.status_code
    assert GOOD[::-1] == [address for address, _ in world.connected]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), httpx.ConnectError),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), httpx.ConnectError),
        (UnicodeError("label empty or too long"), Forbidden),
        ([], httpx.ConnectError),
    ],
)
def test_a_name_that_leads_nowhere_is_told_from_one_that_cannot_be(world, answer, expected):
    """The network may be away, which passes; a host that no name server could know does not."""
    world.names[NAME] = [answer]

    with client() as media, pytest.raises(expected):
        media.get(f"https://{NAME}/")

    assert [] == world.connected


@pytest.mark.parametrize(
    "host", ["a" * 64 + ".example", ".example", "a..example", "-", "*", "%00", "xn--", "[::1", "[v1.x]"]
)
def test_a_host_that_cannot_be_is_refused_without_a_crash(world, host):
    """Some are stopped as no URL, some by the resolver, some by TLS; none is anything else than refused."""
    world.names[host] = [["93.184.216.34"]]

    with client() as media, pytest.raises((Forbidden, httpx.TransportError, httpx.InvalidURL, ValueError)):
        media.get(f"https://{host}/")


@pytest.mark.parametrize("end", ["\r\nHost: inside.example", "\nX: y", "\r", "\x00", "\t"])
def test_a_link_with_a_line_end_is_no_url(world, end):
    """Nothing of a link can begin a second header or request."""
    with client() as media:
        for link in (f"https://{NAME}/a{end}", f"https://{NAME}/?q={end}", f"https://{NAME}{end}/"):
            with pytest.raises(httpx.InvalidURL):
                media.get(link)

    assert [] == world.looked_up


def test_an_escaped_line_end_stays_escaped(hosted):
    """What the link spells out in percent signs is sent in percent signs."""
    host = hosted(saying(reply()))

    with client(host.origin) as media:
        media.get(host.origin + "/a%0d%0aX-Evil:%20yes")

    assert host.heads[0].startswith("GET /a%0d%0aX-Evil:%20yes HTTP/1.1\r\n")


@pytest.mark.parametrize("agent", ["kit\r\nX-Evil: yes", "kit\nX-Evil: yes", "kit\x00"])
def test_a_user_agent_with_a_line_end_is_not_sent(hosted, agent):
    """The one header that comes from a setting cannot bring a second one along."""
    host = hosted(saying(reply()))

    with media_client([host.origin], user_agent=agent, stop=threading.Event()) as media:
        with pytest.raises(httpx.LocalProtocolError):
            media.get(host.origin)

    assert [] == host.heads


def test_each_request_says_who_asks_and_nothing_more(hosted):
    """Our own name, no coding, no cookie although one was set, no password although `.netrc` has one."""
    host = hosted(saying(reply(more="Set-Cookie: id=1; Path=/\r\n")))

    with client(host.origin) as media:
        media.get(host.origin)
        media.get(host.origin)

    lines = ["Accept: */*", "Accept-Encoding: identity", "Connection: close", "User-Agent: callboard-test"]
    expected = sorted([f"Host: {host.origin.removeprefix('http://')}", *lines])
    assert [expected, expected] == [sorted(head.strip().split("\r\n")[1:]) for head in host.heads]


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:{}", "https://127.0.0.1:{}", "socks5://127.0.0.1:{}"])
def test_no_proxy_of_the_environment_is_used(world, hosted, tls, monkeypatch, proxy):
    """A proxy would look up the name by itself, past every check; and no password of `.netrc` is sent."""
    host, trap = hosted(saying(reply()), tls), hosted(saying(reply(b"trap")))
    home = Path.cwd()  # a folder of this test
    world.door, world.names[NAME] = host.address, [["93.184.216.34"]]
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.format(trap.address[1]))
    (home / ".netrc").write_text(f"machine {NAME} login me password word")
    monkeypatch.setenv("NETRC", str(home / ".netrc"))
    monkeypatch.setenv("HOME", str(home))

    with client() as media:
        answer = media.get(f"https://{NAME}/")

    assert b"hello" == answer.content
    assert [("93.184.216.34", 443)] == world.connected
    assert "authorization" not in host.heads[0].lower()


def test_what_has_arrived_is_read_at_once(hosted):
    """Up to 1 MiB, whatever the pool asks for; in pieces of 64 KiB a fast line waits for the interpreter."""
    host = hosted(saying(reply(bytes(2**23))))

    with client(host.origin) as media, media.stream("GET", host.origin) as answer:
        pieces = [len(piece) for piece in answer.iter_raw()]

    assert 2**23 == sum(pieces)
    assert 2**16 < max(pieces) <= 2**20


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00\xff\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    ],
)
def test_an_answer_that_is_no_http_is_an_error_of_the_transport(hosted, raw):
    """Cut short, unreadable, without an end, in another protocol: the pool's own errors reach nobody."""
    host = hosted(saying(raw))

    with client(host.origin) as media, pytest.raises(httpx.RemoteProtocolError):
        media.get(host.origin)


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        """Tell the time in seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """Have this clock in place of the machine's."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def drip(clock, start, drop, connection):
    """Send `start`, and drops in time for every read, which has thirty seconds."""
    connection.sendall(start)
    for _ in range(400):
        connection.sendall(drop)
        clock.now += 27
        time.sleep(0.01)


def endless(connection):
    """Send a body that does not end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(bytes(2**16))


def halting(connection):
    """Send half a body and wait."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    connection.recv(1)


def speechless(connection):
    """Wait without a word."""
    connection.recv(1)


@pytest.mark.parametrize("say", [speechless, halting, endless])
def test_a_stopped_client_gives_up_whatever_it_waits_for(hosted, say):
    """The head, the rest of a body that stalls, the rest of one that never ends: it is over at once."""
    stop = threading.Event()

    def then_stop(connection):
        threading.Timer(0.1, stop.set).start()
        say(connection)

    host = hosted(then_stop)
    began = time.monotonic()

    with client(host.origin, stop=stop) as media, pytest.raises(httpx.ReadError, match="ending"):
        with media.stream("GET", host.origin) as answer:
            for _ in answer.iter_raw():
                pass

    assert time.monotonic() - began < 10


def test_a_stopped_client_gives_up_a_handshake(deaf):
    """A host that takes the connection and does not speak TLS holds nobody."""
    stop = threading.Event()
    timer = threading.Timer(0.1, stop.set)
    timer.start()
    origin = f"https://127.0.0.1:{deaf.getsockname()[1]}"

    with client(origin, stop=stop) as media, pytest.raises(httpx.ConnectError, match="ending"):
        media.get(origin)

    timer.join()


def test_a_stopped_client_gives_up_a_handshake_in_drops(hosted):
    """Nor does a host that always has one more byte for it."""
    stop = threading.Event()
    host = hosted(partial(drip, Clock(), b"\x16\x03\x03\x3f\xff", b"\x02"), speaks_first=True)
    origin = host.origin.replace("http:", "https:")
    threading.Timer(0.1, stop.set).start()

    with client(origin, stop=stop) as media, pytest.raises(httpx.ConnectError, match="ending"):
        media.get(origin)


def test_a_stopped_client_gives_up_a_connection(full):
    """Nor does a host that does not even take the connection."""
    stop = threading.Event()
    timer = threading.Timer(0.1, stop.set)
    timer.start()

    with client(full, stop=stop) as media, pytest.raises(httpx.ConnectError, match="ending"):
        media.get(full)

    timer.join()


def test_a_stopped_client_takes_no_more_of_what_has_arrived(hosted):
    """A line that is always faster than its reader never makes it wait, and is given up all the same."""
    begun, sent, stop = threading.Event(), threading.Event(), threading.Event()

    def say(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        begun.wait(20)
        connection.sendall(b"more")
        sent.set()

    host = hosted(say)
    with client(host.origin, stop=stop) as media, media.stream("GET", host.origin) as answer:
        begun.set()
        sent.wait(20)
        stop.set()
        with pytest.raises(httpx.ReadError, match="ending"):
            answer.read()


def test_a_client_that_is_stopped_while_a_name_is_looked_up_connects_to_nobody(world, monkeypatch):
    """A look-up cannot be stopped, but what it finds is not used any more."""
    stop = threading.Event()
    world.names[NAME] = [["93.184.216.34"]]

    def slow(*args, **kwargs):
        stop.set()
        return world.getaddrinfo(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with client(stop=stop) as media, pytest.raises(httpx.ConnectError, match="ending"):
        media.get(f"https://{NAME}/")

    assert ([NAME], []) == (world.looked_up, world.connected)


def test_a_stopped_client_asks_nobody(world):
    """After the end no name is looked up and no connection begun."""
    stop = threading.Event()
    stop.set()
    world.names[NAME] = [["93.184.216.34"]]

    with client(stop=stop) as media, pytest.raises(httpx.ConnectError, match="ending"):
        media.get(f"https://{NAME}/")

    assert ([], []) == (world.looked_up, world.connected)


def test_a_connection_that_is_not_taken_in_time_is_given_up(full):
    """The timeout for connecting holds for the connection."""
    with client(full) as media, pytest.raises(httpx.ConnectTimeout):
        media.get(full, timeout=httpx.Timeout(20, connect=0.1))


def test_a_handshake_that_does_not_end_in_time_is_given_up(deaf):
    """The timeout for connecting holds for TLS too."""
    origin = f"https://127.0.0.1:{deaf.getsockname()[1]}"

    with client(origin) as media, pytest.raises(httpx.ConnectTimeout):
        media.get(origin, timeout=httpx.Timeout(20, connect=0.1))


@pytest.mark.parametrize("say", [speechless, halting])
def test_a_wait_for_bytes_ends_at_its_timeout(hosted, say):
    """Neither a head nor a body is waited for longer than was said."""
    host = hosted(say)

    with client(host.origin) as media, pytest.raises(httpx.ReadTimeout):
        media.get(host.origin, timeout=httpx.Timeout(20, read=0.1))


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n4;", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n", b"X: y\r\n"),
    ],
)
def test_what_comes_in_drops_and_brings_nothing_has_twice_the_timeout(hosted, clock, start, drop):
    """A header, a chunk's size or a trailer in drops never meets the timeout, and yet nothing comes of it."""

    host = hosted(partial(drip, clock, start, drop))
    with client(host.origin) as media, pytest.raises(httpx.ReadTimeout):
        media.get(host.origin)


def test_a_handshake_in_drops_has_its_timeout_and_no_more(hosted, clock):
    """A host that speaks TLS a byte at a time is given up like one that is silent."""
    host = hosted(partial(drip, clock, b"\x16\x03\x03\x3f\xff", b"\x02"), speaks_first=True)
    origin = host.origin.replace("http:", "https:")

    with client(origin) as media, pytest.raises(httpx.ConnectTimeout):
        media.get(origin, timeout=httpx.Timeout(30, connect=30))


def test_a_body_may_take_as_long_as_its_reader_likes(hosted, clock):
    """Each piece has a time of its own, and the time of a reader whose disk is slow is not the host's."""
    go = threading.Semaphore(0)

    def say(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            go.acquire(timeout=20)
            connection.sendall(b"x")

    host = hosted(say)
    received = []
    with client(host.origin) as media, media.stream("GET", host.origin) as answer:
        clock.now += 100
        go.release()
        for piece in answer.iter_raw():
            received.append(piece)
            clock.now += 100
            go.release()

    assert [b"x"] * 8 == received


def test_a_request_larger_than_the_lines_buffers_is_sent_whole(hosted):
    """What the system does not take at once is sent when it does."""

    def say(connection):
        received = len(host.heads[0].partition("\r\n\r\n")[2])  # what came along with the head
        while not (piece := connection.recv(2**16)).endswith(b"."):
            received += len(piece)
        connection.sendall(reply(str(received + len(piece)).encode()))

    host = hosted(say)
    with client(host.origin) as media:
        answer = media.post(host.origin, content=b"x" * 2**23 + b".")

    assert str(2**23 + 1) == answer.text


def test_a_body_that_nobody_takes_ends_at_its_timeout(deaf):
    """A request too large for the line's buffers waits for the host no longer than was said."""
    origin = f"http://127.0.0.1:{deaf.getsockname()[1]}"

    with client(origin) as media, pytest.raises((httpx.WriteTimeout, httpx.ReadTimeout)):
        media.post(origin, content=bytes(2**24), timeout=httpx.Timeout(20, write=0.1, read=0.1))

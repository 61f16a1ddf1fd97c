"""Links that lead inside: over two hundred of them, straight and by redirect, reach no address off the list."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest

from tests.guards.source import ROOT

GOOD = "93.184.216.34"

# What a name may lead to; most of it comes back as a link of its own.
INSIDE = """
127.0.0.1 127.0.0.53 127.255.255.254 0.0.0.0 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 192.168.1.254
169.254.169.254 169.254.170.2 169.254.0.23 100.64.0.1 100.100.100.200 192.0.0.192 168.63.129.16 192.88.99.1 198.18.0.1
192.0.2.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
::1 :: ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:10.0.0.1 ::127.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1
64:ff9b::a9fe:a9fe 64:ff9b:1::127.0.0.1 64:ff9b:1::808:808 2002:7f00:1:: 2002:a9fe:a9fe::1 2001:0:7f00:1::1
2001:0:4136:e378:8000:63bf:80ff:fffe fe80::1 fec0::1 fc00::1 fd00:ec2::254 fd20:ce::254 ff02::1 2001:db8::1 2001:2::1
3fff::1 100::1 5f00::1
""".split()  # noqa: SIM905

# 127.0.0.1 and 169.254.169.254 as the C library, a browser or nobody at all reads them.
SPELLED = """
2130706433 0x7f000001 0x7F000001 017700000001 0177.1 0x7f.1 127.1 127.0.1 0x7f.0.0.1 0177.0.0.1 127.0.0.01 0 0x0 00 0.0
2852039166 0xa9fea9fe 0251.0376.0251.0376 0xa9.0xfe.0xa9.0xfe 169.254.43518 0251.16689662 425.510.425.510
127.0.0.1. 127.1. localhost localhost. LOCALHOST localhost.localdomain ip6-localhost ip6-loopback
１２７.0.0.1 127。0。0。1 127．0．0．1 127｡0｡0｡1 ①②⑦.0.0.1 ⑯⑨。②⑤④。⑯⑨｡②⑤④ ｌｏｃａｌｈｏｓｔ ⓛⓞⓒⓐⓛⓗⓞⓢⓣ
127.0.0.1%20 127.0.0.1%00 127.0.0.1%09 %31%32%37.0.0.1 127%2e0%2e0%2e1 [::1%25lo] [fe80::1%25eth0] [::1%lo] [fe80::1%1]
[::] [0:0:0:0:0:0:0:1] [0000:0000:0000:0000:0000:0000:0000:0001] [::ffff:7f00:1] [::FFFF:127.0.0.1] [::ffff:0x7f.1]
[::127.1] [127.0.0.1] [v1.127.0.0.1] [::1 ::1 [] [::1]127.0.0.1 127.0.0.1[::1]
""".split()  # noqa: SIM905

# Where two readers of one link see two hosts.
CONFUSED = """
https://good.example@127.0.0.1/ https://good.example:443@127.0.0.1/ https://good.example%40127.0.0.1/
https://127.0.0.1#@good.example/ https://127.0.0.1?@good.example/ https://127.0.0.1/@good.example/
https://127.0.0.1\\@good.example/ https://good.example\\@127.0.0.1/ https://127.0.0.1\\good.example/
https://127.0.0.1;good.example/ https://127.0.0.1,good.example/ https://127.0.0.1&good.example/
https://127.0.0.1%23@good.example/ https://127.0.0.1%2f@good.example/ https://127.0.0.1%5c@good.example/
https://good.example@good.example@127.0.0.1/ https://user:word@127.0.0.1/ https://user:word@flips.example/
https:127.0.0.1 https:/127.0.0.1 https:\\\\127.0.0.1 https:\\127.0.0.1 https:///127.0.0.1 https:////127.0.0.1
//127.0.0.1/ ///127.0.0.1/ \\\\127.0.0.1\\share 127.0.0.1 127.0.0.1:443 localhost/ /etc/passwd ../../etc/passwd
https://127.0.0.1:443/ https://127.0.0.1:0443/ https://127.0.0.1:80/ https://127.0.0.1:22/ https://127.0.0.1:0/
https://127.0.0.1:/ https://127.0.0.1:65536/ https://127.0.0.1:-1/ https://127.0.0.1:443:80/ https://127.0.0.1:４４３/
https://[::1]:443/ https://[::1]:80/ https://[::1]:/ https://good.example:22/ https://good.example:8443/
http://good.example/ http://good.example:443/ http://127.0.0.1/ http://[::1]/ http://169.254.169.254/latest/meta-data/
http://metadata.example/computeMetadata/v1/ http://localhost:{home}/ http://127.1:{home}/ http://2130706433:{home}/
https://127.0.0.1:{home}/ https://localhost:{home}/ http://[::ffff:127.0.0.1]:{home}/ http://127.0.0.2:{home}/
http://127.0.0.1:{home}@169.254.169.254/ http://user@127.0.0.1:{home}/ http://user:word@127.0.0.1:{home}/
http://127.0.0.1:{home}.good.example/ http://127.0.0.1:{home}\\@169.254.169.254/
file:///etc/passwd file://localhost/etc/passwd file:/etc/passwd file://127.0.0.1/share FILE:///etc/passwd
ftp://127.0.0.1/ ftps://127.0.0.1/ sftp://127.0.0.1/ tftp://127.0.0.1/ gopher://127.0.0.1:6379/_PING dict://127.0.0.1/
ldap://127.0.0.1/ ldaps://127.0.0.1/ smb://127.0.0.1/share ssh://127.0.0.1/ telnet://127.0.0.1/ jar:https://127.0.0.1!/
ws://127.0.0.1/ wss://127.0.0.1/ ws://127.0.0.1:{home}/ unix:/var/run/docker.sock unix:///var/run/docker.sock
http+unix://%2fvar%2frun%2fdocker.sock/ data:text/plain,x javascript:alert(1) about:blank blob:https://127.0.0.1/x
view-source:https://127.0.0.1/ netdoc:///etc/passwd s3://bucket/key chrome://settings/ vbscript:x mailto:a@127.0.0.1
https+http://127.0.0.1/ httpss://127.0.0.1/ https%3a//127.0.0.1/ ｈｔｔｐｓ://127.0.0.1/ https：//127.0.0.1/
""".split()  # noqa: SIM905

# Where a space or a line's end is the trick.
SPACED = [
    "https://127.0.0.1 /",
    " https://127.0.0.1/",
    "https://127.0.0.1\t/",
    "https://good.example\r\nHost: 127.0.0.1/",
]
SPACED += [
    "https://127.0.0.1\r\n/",
    "https://good.example/\r\n\r\nGET / HTTP/1.1",
    "ht\ttps://127.0.0.1/",
    "https://\x00/",
]
SPACED += [
    "https://good.example\x00.127.0.0.1/",
    "\x00https://127.0.0.1/",
    "https://127.0.0.1\u3000/",
    "https://\ufeff/",
]
SPACED += [
    "https://127.0.0.1\u200b/",
    "https://127.0.0.1\xad/",
    "https://\u202e1.0.0.721/",
    "",
    " ",
    "\n",
    "https://",
    "x" * 70000,
]

# Names whose answers are the trap; each list is one look-up.
TRAPS = {
    "flips.example": [[GOOD], ["127.0.0.1"]],
    "flips-back.example": [["127.0.0.1"], [GOOD]],
    "both.example": [[GOOD, "127.0.0.1"]],
    "both-other-way.example": [["127.0.0.1", GOOD]],
    "many.example": [[*(f"93.184.216.{n}" for n in range(1, 40)), "169.254.169.254"]],
    "families.example": [[GOOD, "::1"]],
    "metadata.example": [["169.254.169.254"]],
    "inside.example": [["10.0.0.7"]],
    "localhost": [["127.0.0.1", "::1"]],
    "localhost.": [["127.0.0.1"]],
    "ip6-localhost": [["::1"]],
    "xn--insid-fsa.example": [["192.168.0.1"]],
    "good.example": [[GOOD]],
}
NAMES = TRAPS | {f"n{i}.example": [[address]] for i, address in enumerate(INSIDE)}
LINKS = [
    *(f"https://{f'[{address}]' if ':' in address else address}/cover.png" for address in INSIDE),
    *(f"https://n{i}.example/cover.png" for i in range(len(INSIDE))),
    *(f"https://{host}/cover.png" for host in SPELLED),
    *(f"https://{name}/cover.png" for name in [*TRAPS, "insidé.example"] if name != "good.example" for _ in range(2)),
    *CONFUSED,
    *SPACED,
]
FINE = {
    "Forbidden",
    "InvalidURL",
    "UnsupportedProtocol",
    "ConnectError",
    "LocalProtocolError",
    "UnicodeError",
    "ValueError",
}


class Redirecting(BaseHTTPRequestHandler):
    """Answers /to/<n> with a redirect to the nth link, everything else with a few bytes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one request."""
        number = self.path.removeprefix("/to/")
        self.send_response_only(302 if number.isdecimal() else 200)
        if number.isdecimal():
            self.send_header("Location", self.server.targets[int(number)])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def home():
    """The test's own host: the one origin that is listed, and where the redirects come from."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def audited(home, links):
    """Ask the links in a process that is watched, with every proxy of the environment pointing at the metadata."""
    port = home.server_address[1]
    order = {"home": port, "listed": [f"http://127.0.0.1:{port}"], "names": NAMES, "links": links}
    proxies = {f"{kind}_proxy": "http://169.254.169.254:80" for kind in ("http", "https", "all")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.audited"],
        input=json.dumps(order),
        cwd=ROOT,
        env=os.environ | proxies | {name.upper(): value for name, value in proxies.items()},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


def test_the_watch_sees_what_may_be_reached(home):
    """The listed origin is reached, and a public host would be: by the address that was looked up, on port 443."""
    origin = f"http://127.0.0.1:{home.server_address[1]}"

    rows = audited(home, [f"{origin}/x", "https://good.example/x", f"https://{GOOD}/x", "https://flips.example/x"])

    assert ["200", "ConnectError", "ConnectError", "ConnectError"] == [row["end"] for row in rows]
    assert [["socket.connect", "127.0.0.1", home.server_address[1]]] == rows[0]["seen"]
    assert [[["socket.connect", GOOD, 443]]] * 3 == [row["seen"] for row in rows[1:]]


def test_no_link_leads_inside(home):
    """Of all hostile links none leads to any address but a public one on 443, opens a file or raises a surprise."""
    links = [link.replace("{home}", str(home.server_address[1])) for link in LINKS]

    rows = audited(home, links)

    assert len(set(links)) >= 250
    assert [] == [row for row in rows if _off_the_list(row["seen"])]
    assert [] == [row for row in rows if row["end"] not in FINE]


def test_no_redirect_leads_inside(home):
    """The same links as the target of a redirect from a host that may be asked."""
    port = home.server_address[1]
    home.targets = [quote(link.replace("{home}", str(port)), safe="!#$%&'()*+,/:;=?@[]~\\ ") for link in LINKS]
    own = ["socket.connect", "127.0.0.1", port]

    rows = audited(home, [f"http://127.0.0.1:{port}/to/{number}" for number in range(len(LINKS))])

    assert [own] * len(rows) == [row["seen"][0] for row in rows]
    assert [] == [row for row in rows if _off_the_list([seen for seen in row["seen"] if seen != own])]
    assert [] == [row for row in rows if row["end"] not in FINE | {"200", "302", "RemoteProtocolError"}]


def _off_the_list(seen):
    """Return what is neither the good host nor its neighbours, of which none answers."""
    return [one for one in seen if one[0] != "socket.connect" or not one[1].startswith("93.184.216.") or one[2] != 443]

"""HTML of strangers: whatever it tries, nothing leaves the browser and no script runs."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from restante.app.console.cleaning import clean
from tests.console.site import Site

TRICKS = (
    '<img src="{u}/img">',
    "<img src={u}/bare>",
    '<img srcset="{u}/srcset 2x">',
    '<picture><source srcset="{u}/source"><img></picture>',
    '<body background="{u}/background">',
    '<table background="{u}/table"><tr><td background="{u}/td">x</table>',
    '<p style="background:url({u}/style)">x',
    '<p style="background:u\\72l({u}/escaped)">x',
    "<p style=\"background-image:image-set('{u}/set' 1x)\">x",
    "<style>@import '{u}/import';</style>",
    "<style>body{background:url({u}/css)}</style>",
    '<link rel=stylesheet href="{u}/sheet">',
    "<style>@font-face{font-family:f;src:url({u}/font)} p{font-family:f}</style><p>x",
    '<link rel=prefetch href="{u}/prefetch">',
    '<link rel=preload as=image href="{u}/preload">',
    '<link rel=dns-prefetch href="{u}">',
    '<link rel=preconnect href="{u}">',
    '<link rel=modulepreload href="{u}/module">',
    '<link rel=prerender href="{u}/prerender">',
    '<link rel=icon href="{u}/icon">',
    '<link rel=manifest href="{u}/manifest">',
    '<meta http-equiv=refresh content="0;url={u}/refresh">',
    '<base href="{u}/"><img src=base>',
    "<script>top.hit=1;fetch('{u}/script')</script>",
    '<script src="{u}/script.js"></script>',
    "<img src=x onerror=\"top.hit=1;fetch('{u}/onerror')\">",
    "<svg onload=\"fetch('{u}/svg')\">",
    '<svg><image href="{u}/image"/></svg>',
    '<svg><use href="{u}/use#a"/></svg>',
    "<svg><script>fetch('{u}/svgscript')</script></svg>",
    '<math><mi xlink:href="{u}/math">x',
    "<svg><style>*{background:url({u}/svgstyle)}</style>",
    '<iframe src="{u}/frame"></iframe>',
    "<iframe srcdoc=\"<img src='{u}/srcdoc'>\"></iframe>",
    '<object data="{u}/object"></object>',
    '<embed src="{u}/embed">',
    '<video src="{u}/video" autoplay></video>',
    '<video poster="{u}/poster"></video>',
    '<audio src="{u}/audio" autoplay></audio>',
    '<track src="{u}/track">',
    '<input type=image src="{u}/input">',
    '<form action="{u}/form" id=f><input autofocus onfocus="this.form.submit()"></form>',
    '<a href="{u}/ping" ping="{u}/ping2" id=a>x</a>',
    '<a href="javascript:top.hit=1">x</a>',
    "<details open ontoggle=\"fetch('{u}/toggle')\">x</details>",
    "<template><img src={u}/t></template>",
    "<marquee onstart=\"fetch('{u}/marquee')\">x",
    '<isindex action="{u}/isindex">',
    '<noscript><p title="</noscript><img src={u}/noscript>">',
    "<!--><img src={u}/comment>-->",
    "<!-- --!><img src={u}/comment2>",
    "<textarea><img src={u}/area></textarea><img src={u}/after>",
    "<xmp><img src={u}/xmp></xmp>",
    "<plaintext><img src={u}/plain>",
    '<p style="color:red;--x:url({u}/var);background:var(--x)">x',
    "<<img src={u}/double>>",
    '<img/src="{u}/slash"/>',
    "<img\x0csrc={u}/formfeed>",
    "<IMG SRC={u}/CASE>",
    "<img src={u}/open",
    "&lt;img src={u}/entity&gt;",
    "<p title='&lt;img src={u}/attr&gt;'>x</p>",
    "<p title=\"x\" style='x'<img src={u}/inside>",
    "<bgsound src={u}/sound>",
    "<layer src={u}/layer>",
    '<p style="behavior:url({u}/htc)">',
    "<portal src={u}/portal></portal>",
    "<script>new WebSocket('{w}/ws')</script>",
    "<script>navigator.sendBeacon('{u}/beacon')</script>",
    "<frameset><frame src={u}/frameset></frameset>",
    "<applet code=x codebase={u}/applet></applet>",
)


class Elsewhere:
    """A server that notes what it is asked. connections: also such as ask nothing."""

    def __init__(self) -> None:
        asked = self.asked = []  # type: list[str]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(204)
                self.end_headers()

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        class Counting(ThreadingHTTPServer):
            def verify_request(self, *_: Any) -> bool:
                asked.append("a connection")
                return True

        self._server = Counting(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """Where tricks lead."""
    server = Elsewhere()
    yield server
    server.close()


def _message(html: str) -> bytes:
    encoded = base64.encodebytes(html.encode()).replace(b"\n", b"\r\n")
    return (
        b"From: a@example.org\r\nSubject: <script>alert(1)</script>\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + encoded
    )


def test_no_trick_leaves_the_browser_or_runs(admin: Any, site: Site, elsewhere: Elsewhere) -> None:
    """All of them in one message after the other's end, and those that stop a parser alone."""
    socket = elsewhere.url.replace("http", "ws")
    tricks = [each.replace("{u}", elsewhere.url).replace("{w}", socket) for each in TRICKS]
    whole = "<p>begin</p>" + "\n".join(f"<div>{each}</div></div>" for each in tricks[:46])
    alone = tricks[46:]
    site.deliver(_message(whole), *(_message(f"<p>begin</p>{each}") for each in alone))
    said: list[str] = []

    def dismiss(dialog: Any) -> None:
        said.append(dialog.message)
        dialog.dismiss()

    admin.on("dialog", dismiss)
    for unique_id in site.unique_ids():
        admin.goto(f"/maildrop/message?account=joe&id={unique_id}&as=html")
        frame = admin.frame_locator("iframe")
        frame.get_by_text("begin").wait_for()
        for link in frame.locator("a").all():
            link.click()
        assert len(admin.frames) == 2
        assert admin.evaluate("window.hit") is None
    admin.wait_for_load_state("networkidle")
    assert said == []
    assert elsewhere.asked == []


def test_the_policy_alone_holds_what_the_cleaning_would_miss(
    site: Site, elsewhere: Elsewhere, chromium: Any
) -> None:
    """The frame's headers with the tricks as they came: no script runs, nothing is loaded."""
    from restante.app.console.pages.maildrop import FRAME_POLICY  # noqa: PLC0415

    admin = chromium.new_context(base_url=site.url).new_page()
    site.log_in(admin)
    held = [each for each in TRICKS if "connect" not in each]  # no policy is about those
    body = "".join(f"<div>{each}</div>".replace("{u}", elsewhere.url) for each in held[:46])
    admin.route(
        "**/maildrop/html**",
        lambda route: route.fulfill(
            body=f"<!doctype html><p>begin</p>{body}",
            headers={
                "content-type": "text/html",
                "content-security-policy": FRAME_POLICY,
                "x-dns-prefetch-control": "off",
            },
        ),
    )
    site.deliver(_message("<p>x"), to="ann@example.org")
    (unique_id,) = site.unique_ids("ann")
    admin.goto(f"/maildrop/message?account=ann&id={unique_id}&as=html")
    admin.frame_locator("iframe").get_by_text("begin").wait_for()
    admin.wait_for_load_state("networkidle")
    assert admin.evaluate("window.hit") is None
    admin.context.close()
    # A browser may open connections ahead of requests that the policy then forbids.
    assert [path for path in elsewhere.asked if path != "a connection"] == []


@pytest.mark.parametrize("trick", TRICKS)
def test_what_is_cleaned_has_no_address_and_no_script(trick: str) -> None:
    shown = clean(trick.replace("{u}", "http://evil.example"))
    for tag in re.findall(r"<[^>]*>", shown):
        assert "evil" not in tag
        assert not re.search(r"\bon\w+=|href|src|url|javascript", tag), tag
    assert "<script" not in shown
    assert "<style" not in shown


def test_what_is_harmless_stays() -> None:
    text = (
        '<table width="100%"><tr><td style="color: #333; background:url(x); padding: 4px">'
        "A &amp; B<br>c</td></tr></table>"
    )
    assert clean(text) == (
        '<table width="100%"><tr><td style="color: #333; padding: 4px">A &amp; B<br>c</td></tr>'
        "</table>"
    )


@pytest.mark.parametrize("text", ["<", "<a", "<!--", "<script>", "<p ", "&", "<p style='", "<div>"])
def test_cleaning_takes_no_more_time_than_the_text_is_long(text: str) -> None:
    begin = time.process_time()
    clean(text * (256 * 1024 // len(text)))
    assert time.process_time() - begin < 20  # against hangs

"""The console's pages in a real browser: what they show, what they do, and for whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.app.support import PASSWORD
from tests.console.site import MESSAGES, Site, message

PAGES = (
    "/",
    "/sessions",
    "/dialogue",
    "/accounts",
    "/accounts/one?name=joe",
    "/maildrop",
    "/maildrop?account=joe",
    "/maildrop?account=ann",
    "/mail-in",
    "/explain",
    "/explain?account=joe",
    "/bans",
    "/settings",
    "/settings?all=yes",
)


@pytest.fixture(scope="module", autouse=True)
def filled(site: Site) -> None:
    """Mail, a session that fetched it, a failed login."""
    site.deliver(*(message(*each) for each in MESSAGES))
    client = site.server.login()
    client.retr(1)
    client.quit()
    site.fail()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(
    admin: Any, axe: Callable[[Any], list[str]], site: Site, scheme: str
) -> None:
    admin.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    found = {}
    message_page = f"/maildrop/message?account=joe&id={site.unique_ids()[0]}"
    for path in (*PAGES, message_page, f"{message_page}&as=headers", "/nowhere"):
        admin.goto(path)
        found[path] = axe(admin)
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def test_axe_finds_nothing_serious_on_the_login_page(
    page: Any, axe: Callable[[Any], list[str]]
) -> None:
    page.goto("/login")
    assert axe(page) == []


def test_a_narrow_screen_needs_no_scrolling_sideways(admin: Any, site: Site) -> None:
    admin.set_viewport_size({"width": 360, "height": 740})
    clients = [site.server.login(name) for name in ("joe", "ann")]
    cookie, token = site.session()
    for do in ("add", "lift"):  # with something in each table, and with nothing
        site.ask("POST", f"/bans/{do}", {"network": "2001:db8::/32", "token": token}, cookie=cookie)
        for path in PAGES:
            admin.goto(path)
            assert admin.evaluate("document.documentElement.scrollWidth") <= 360, path
            assert admin.get_by_role("link", name="Settings", exact=True).is_visible()
        for client in clients:
            client.quit()
        clients.clear()


def test_a_narrow_list_of_mail_has_a_block_for_each_message(admin: Any) -> None:
    """Who and what in whole lines; nothing is broken in the middle of a word."""
    admin.set_viewport_size({"width": 390, "height": 800})
    admin.goto("/maildrop?account=joe")
    row = admin.locator("tbody tr", has_text="Jörg Müller").first
    name, subject = row.locator("td.from"), row.locator("td.subject")
    assert name.bounding_box()["height"] < 30
    assert name.bounding_box()["y"] < subject.bounding_box()["y"]
    assert row.locator("td.when").inner_text() == "30 Nov 10:12"
    assert row.locator("td.when").get_attribute("title") == "Mon, 30 Nov 2026 10:12:00 +0100"


def test_the_overview_says_that_all_is_well_and_who_was_refused(admin: Any, site: Site) -> None:
    site.wait_for(
        lambda: admin.goto("/") and admin.get_by_text("wrong name or password").count(),
        "the refused login in the history",
    )
    assert admin.get_by_role("heading", name="All is well").is_visible()
    assert admin.get_by_role("img", name="Open sessions").is_visible()


def test_the_keyboard_reaches_the_content_first(admin: Any) -> None:
    admin.goto("/")
    admin.keyboard.press("Tab")
    assert admin.evaluate("document.activeElement.textContent") == "To the content"


def test_a_session_is_seen_live_and_ended(admin: Any, site: Site) -> None:
    admin.goto("/sessions")
    client = site.server.login("ann")
    admin.get_by_role("cell", name="ann", exact=True).wait_for()  # the page fetched it by itself
    admin.locator("tr", has_text="ann").get_by_role("button", name="End").click()
    admin.get_by_text("ends after the reply in hand").wait_for()
    site.wait_for(lambda: client.file.read(1) == b"" or True, "the end")
    client.close()
    site.server.wait_for_log("administrator=admin address=127.0.0.1 ended session")


def test_a_dialogue_is_switched_on_seen_and_saved(admin: Any, site: Site) -> None:
    admin.goto("/dialogue?account=ann")
    admin.get_by_role("button", name="Switch on").click()
    admin.get_by_text("Switched the debug log on for").wait_for()
    site.server.wait_for_log("debug log: account ann", times=2)
    site.server.login("ann").quit()
    admin.goto("/dialogue")
    admin.locator("tbody a").first.click()
    shown = admin.locator(".lines").inner_text()
    assert "PASS ****" in shown
    assert PASSWORD not in admin.content()
    with admin.expect_download() as download:
        admin.get_by_role("link", name="Save as .pop").click()
    saved = download.value.path().read_text()
    assert "\n@maildrop empty\nLOGIN\nC: QUIT\nS: +OK bye\n" in saved
    assert PASSWORD not in saved
    admin.goto("/dialogue")
    admin.get_by_role("button", name="Switch off").click()
    admin.get_by_text("Switched the debug log off").wait_for()


def test_messages_are_looked_at_without_taking_the_lease(admin: Any, site: Site) -> None:
    client = site.server.login()  # has the lease
    admin.goto("/maildrop?account=joe")
    assert admin.get_by_text("has held the maildrop's lease").is_visible()
    assert admin.get_by_role("cell", name="Jörg Müller").is_visible()
    shown = [admin.locator("tbody code").nth(at).get_attribute("title") for at in range(3)]
    client.quit()
    assert shown == site.unique_ids()[::-1]
    admin.get_by_role("link", name="Offer for the new shelves").click()
    assert "here is what you have asked for" in admin.locator("pre.mail").inner_text()
    assert admin.get_by_role("cell", name="all of it").count()  # who has fetched it


def test_a_lease_is_released_from_the_maildrops_page(admin: Any, site: Site) -> None:
    client = site.server.login("ann")
    admin.goto("/maildrop?account=ann")
    admin.get_by_role("button", name="End it, release the lease").click()
    admin.get_by_text("ends after the reply in hand").wait_for()
    site.wait_for(lambda: client.file.read(1) == b"" or True, "the end")
    client.close()
    site.server.login("ann").quit()  # it is free again


def test_a_message_is_downloaded_as_it_lies_there(admin: Any, site: Site) -> None:
    admin.goto(f"/maildrop/message?account=joe&id={site.unique_ids()[0]}")
    with admin.expect_download() as download:
        admin.get_by_role("link", name="Download .eml").click()
    text = download.value.path().read_text()
    assert download.value.suggested_filename.endswith(".eml")
    assert "Subject: Offer for the new shelves\n" in text.replace("\r\n", "\n")


def test_html_is_shown_without_what_it_would_load(admin: Any, site: Site) -> None:
    asked: list[str] = []
    admin.on("request", lambda request: asked.append(request.url))
    admin.goto(f"/maildrop/message?account=joe&id={site.unique_ids()[1]}&as=html")
    frame = admin.frame_locator("iframe")
    assert frame.get_by_text("It is on its way").is_visible()
    assert frame.get_by_text("[image: our shop]").is_visible()
    assert [url for url in asked if not url.startswith(site.url)] == []


def test_an_account_is_added_given_passwords_and_disabled(admin: Any, site: Site) -> None:
    admin.goto("/accounts")
    admin.get_by_label("Name", exact=True).fill("carol")
    admin.get_by_role("button", name="Add").click()
    password = admin.locator(".password").inner_text()
    site.server.login("carol", password).quit()
    admin.goto("/accounts/one?name=carol")
    assert password not in admin.content()
    admin.get_by_label("For which device").fill("phone")
    admin.get_by_role("button", name="Make one").click()
    site.server.login("carol", admin.locator(".password").inner_text()).quit()
    admin.get_by_role("button", name="Revoke").click()
    admin.get_by_text("Revoked the app password").wait_for()
    admin.get_by_label("New password").fill("chosen by hand")
    admin.locator("form", has_text="New password").get_by_role("button", name="Change").click()
    admin.get_by_text("Gave account 'carol' a new password").wait_for()
    site.server.login("carol", "chosen by hand").quit()
    with pytest.raises(Exception, match="-ERR"):
        site.server.login("carol", password)
    admin.get_by_label("SMTP").uncheck()
    admin.get_by_label("From these networks only").fill("127.0.0.0/8")
    admin.locator("form", has_text="Log in by").get_by_role("button", name="Change").click()
    admin.get_by_text("Changed the rights").wait_for()
    assert admin.get_by_label("From these networks only").input_value() == "127.0.0.0/8"
    admin.get_by_role("button", name="Disable the account").click()
    admin.get_by_text("Disabled account").wait_for()
    with pytest.raises(Exception, match="-ERR"):
        site.server.login("carol", "chosen by hand")


def test_mail_in_is_searched(admin: Any, site: Site) -> None:
    site.wait_for(
        lambda: admin.goto("/mail-in") and admin.get_by_text("delivered").count() > 3, "the history"
    )
    admin.get_by_label("Address, client").fill("nobody@")
    admin.get_by_role("button", name="Find").click()
    assert admin.get_by_text("Nothing in the history fits.").is_visible()


def test_a_delivery_leads_to_its_message_and_that_to_its_neighbours(admin: Any, site: Site) -> None:
    for subject in ("the first of three", "the second of three", "the third of three"):
        site.deliver(message("Anna <a@example.org>", subject, "html"), to="ann+shop@example.org")
    admin.goto("/mail-in?find=ann%2Bshop")
    assert admin.get_by_role("link", name="ann+shop@example.org").count() == 3
    admin.get_by_role("link", name="ann+shop@example.org").first.click()
    title = admin.get_by_role("heading", level=1)
    assert "of three" in title.inner_text()
    while admin.get_by_role("link", name="Newer").count():
        admin.get_by_role("link", name="Newer").click()
    assert title.inner_text() == "the third of three"
    admin.get_by_role("link", name="Older").click()
    assert title.inner_text() == "the second of three"
    admin.get_by_role("link", name="Older").click()
    assert title.inner_text() == "the first of three"
    admin.get_by_role("link", name="Source").click()
    source = admin.get_by_role("region", name="The message as it lies there").inner_text()
    assert "Subject: the first of three" in source
    assert "<h1>It is on its way</h1>" in source  # as text
    admin.goto("/maildrop/delivered?to=ann@example.org&id=gone")
    admin.get_by_role("link", name="What became of ann's messages").click()
    assert title.inner_text() == "ann"
    assert admin.get_by_role("heading", name="What happened").is_visible()
    admin.goto("/maildrop/delivered?to=nobody@example.org&id=x")
    assert admin.get_by_text("No account gets the mail").is_visible()


def test_a_maildrop_is_searched(admin: Any) -> None:
    admin.goto("/maildrop?account=joe")
    admin.get_by_label("Sender, subject or unique-id").fill("jörg MÜLLER")
    admin.get_by_role("button", name="Find").click()
    assert admin.get_by_text("1 message found among the 3 newest messages.").is_visible()
    assert admin.get_by_role("link", name="Fotos vom Ausflug").is_visible()
    admin.get_by_label("Sender, subject or unique-id").fill("no such thing")
    admin.get_by_role("button", name="Find").click()
    assert admin.get_by_text("No message has “no such thing”").is_visible()
    admin.get_by_role("link", name="All messages").click()
    assert admin.locator("tbody tr").count() == 3


def test_new_mail_is_seen_live(admin: Any, site: Site) -> None:
    admin.goto("/maildrop?account=ann")
    site.deliver(message("Anna <a@example.org>", "it has just come", "text"), to="ann@example.org")
    admin.get_by_role("link", name="it has just come").wait_for()
    admin.get_by_role("link", name="it has just come").focus()  # by the keyboard
    site.deliver(message("Anna <a@example.org>", "and another", "text"), to="ann@example.org")
    admin.get_by_role("link", name="and another").wait_for()
    assert admin.evaluate("document.activeElement.textContent") == "it has just come"
    seen = admin.locator("#live").get_attribute("hx-get")
    same = admin.request.get(seen, headers={"hx-request": "true"})
    assert (same.status, same.text()) == (204, "")
    admin.get_by_role("link", name="Pause").click()
    assert admin.get_by_text("Paused.").is_visible()
    assert admin.get_by_role("link", name="it has just come").is_visible()


def test_what_clients_did_is_explained_in_words(admin: Any, site: Site) -> None:
    site.server.login("ann").quit()
    admin.goto("/explain?account=ann")  # at once, though the history is written in batches
    assert admin.get_by_text("Client 1").count()
    assert admin.get_by_text("The history goes back to").is_visible()
    admin.goto("/accounts/one?name=ann")
    assert admin.get_by_role("region", name="Clients").get_by_text("127.0.0.1").count()
    client = site.server.login("ann")
    admin.goto("/explain?account=ann")
    assert admin.get_by_text("goes on since").is_visible()
    client.quit()
    admin.goto("/explain?account=joe")
    assert "POP3" in admin.get_by_label("What to type into a client").inner_text()


def test_who_is_in_no_list_is_explained_by_the_exact_name(admin: Any) -> None:
    admin.goto("/explain")
    assert not admin.get_by_label("Account by its exact name").count()
    admin.get_by_label("Name or address").fill("removed")
    admin.get_by_role("button", name="Find").click()
    assert admin.get_by_label("Account by its exact name").input_value() == "removed"
    admin.get_by_role("button", name="Explain").click()
    assert admin.get_by_text("There is no account 'removed'.").is_visible()
    admin.goto("/explain?account=ann@example.org")
    assert admin.get_by_role("heading", name="ann", exact=True).is_visible()
    assert admin.url.endswith("/explain?account=ann")


def test_a_ban_is_made_and_lifted(admin: Any) -> None:
    admin.goto("/bans")
    admin.get_by_label("Address or network").fill("192.0.2.7")
    admin.get_by_label("For", exact=True).fill("1h")
    admin.get_by_label("Reason").fill("<script>alert(1)</script>")
    admin.get_by_role("button", name="Ban", exact=True).click()
    assert admin.get_by_role("cell", name="<script>alert(1)</script>").is_visible()
    admin.get_by_role("button", name="Lift the ban of 192.0.2.7").click()
    assert admin.get_by_text("Nobody is banned.").is_visible()


def test_settings_say_what_differs_and_where_it_comes_from(admin: Any) -> None:
    admin.goto("/settings")
    row = admin.locator("tr", has_text="workers")
    assert "--workers" in row.inner_text()
    assert admin.get_by_text("No mistakes.").is_visible()
    assert not admin.locator("tr", has_text="idle_timeout").count()
    admin.get_by_role("link", name="Show all").click()
    assert admin.locator("tr", has_text="idle_timeout").count()


def test_it_works_without_javascript(chromium: Any, site: Site) -> None:
    context = chromium.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    site.log_in(page)
    for path in PAGES:
        assert page.goto(path).status == 200
        assert page.locator("h1").count() == 1
    page.get_by_role("button", name="Log out").click()
    page.goto("/sessions")
    assert page.get_by_label("Administrator").is_visible()
    context.close()

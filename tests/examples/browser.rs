//! The example pages in a real browser.
//!
//! Without chromium and chromedriver (Debian: `chromium` and `chromium-driver`) these tests print
//! that they are skipped, and pass. With `HTTP_SSE_REAL=required` they fail instead.

use std::net::SocketAddr;

use crate::{
    cutting_proxy::CuttingProxy, http1::Answer, port::reserved_port, process::Process,
    skip::skipped, webdriver::Browser,
};

#[test]
fn quickstart_shows_numbers_status_and_keep_alives() {
    let Some(browser) = start("quickstart") else {
        return;
    };
    let (_server, address) = Process::serve("quickstart");
    browser.open(&format!("http://{address}/"));

    // The stream runs at its default speed, and each condition is polled.
    browser.wait_for("document.querySelector('#number').textContent >= 1");
    browser.wait_for("document.querySelector('#number').textContent >= 3");
    browser.wait_for("document.querySelector('#last-id').textContent >= 3");
    browser.wait_for("/^up \\d+s, 2 clients$/.test(document.querySelector('#status').textContent)");
    browser.wait_for("/^: keep-alive$/m.test(document.querySelector('#raw').innerText)");
    browser.wait_for("document.querySelector('#number').textContent >= 6"); // after the silence

    let state = browser.run("return document.querySelector('#state').textContent");
    assert_eq!(state, "open");
    let raw = browser.run("return document.querySelector('#raw').innerText");
    let raw = raw.as_str().unwrap();
    assert!(raw.starts_with(":\nid: 1\ndata: 1\n"), "{raw:?}");
}

#[test]
fn relay_answers_and_stops_over_both_transports() {
    let Some(browser) = start("relay") else {
        return;
    };
    let (server, address) = Process::serve("relay");
    browser.open(&format!("http://{address}/"));
    let answer = || {
        let answer = browser.run("return document.querySelector('#answer').textContent");
        String::from(answer.as_str().unwrap())
    };
    let ask = |transport: &str| {
        browser.run(&format!(
            "document.querySelector('[value={transport}]').click();
            document.querySelector('#prompt').value = 'Why?';
            document.querySelector('#send').click()"
        ));
        browser.wait_for("document.querySelector('#answer').textContent.length > 0");
    };
    let wait_for_state = |state: &str| {
        browser.wait_for(&format!(
            "document.querySelector('#state').textContent == '{state}'"
        ));
    };

    for transport in ["eventSource", "fetch"] {
        ask(transport);
        browser.run("document.querySelector('#stop').click()");
        wait_for_state("stopped");
        assert_eq!(server.line("upstream"), "upstream cancelled");

        ask(transport);
        wait_for_state("done");
        assert_eq!(server.line("upstream"), "upstream ended");
        assert_eq!(answer(), "You asked: “Why?” Let me think. Because.");
    }
}

#[test]
fn ticker_misses_and_repeats_nothing_over_twenty_killed_connections() {
    let Some(browser) = start("ticker") else {
        return;
    };
    let (_server, address) = Process::serve("ticker");
    let kill = |_| drop(browser.run("document.querySelector('#kill').click()"));
    assert_ticker_survives(&browser, address, kill);
}

#[test]
fn ticker_misses_and_repeats_nothing_over_twenty_cuts_of_the_network() {
    let Some(browser) = start("ticker-cut") else {
        return;
    };
    let (_server, address) = Process::serve("ticker");
    let proxy = CuttingProxy::start(address);
    // Each cut is at another place of an event, which has about 70 bytes.
    let cut = |kills| proxy.cut_after(1 + 997 * kills);
    assert_ticker_survives(&browser, proxy.address, cut);
}

/// Asserts that the page of the example `ticker` loses and repeats nothing while `kill` ends its
/// connection twenty times. `kill` gets the number of times before.
fn assert_ticker_survives(browser: &Browser, address: SocketAddr, kill: impl Fn(usize)) {
    const KILLS: usize = 20;
    browser.open(&format!("http://{address}/"));
    let shows = |name: &str| format!("Number(document.querySelector('#{name}').textContent)");
    let number = |name: &str| browser.run(&format!("return {}", shows(name)));
    for kills in 0..KILLS {
        let before = number("updates");
        browser.wait_for(&format!("{} > {before} + 100", shows("updates")));
        kill(kills);
        browser.wait_for(&format!("{} > {kills}", shows("resumed")));
    }
    let before = number("updates");
    browser.wait_for(&format!("{} > {before} + 1000", shows("updates")));
    assert_eq!(number("missing"), 0);
    assert_eq!(number("twice"), 0);
    assert_eq!(number("resumed"), KILLS);
    println!(
        "{} updates over {KILLS} killed connections",
        number("updates")
    );
}

#[test]
fn notifications_resume_after_a_restart() {
    let Some(browser) = start("notifications") else {
        return;
    };
    // The server has the same port before and after the restart.
    let port = reserved_port().to_string();
    let serve = || Process::serve_with("notifications", &[("PORT", &port)]);
    let (server, address) = serve();
    browser.open(&format!("http://{address}/?user=ada"));
    let state = "document.querySelector('#state').textContent";
    let list = "[...document.querySelectorAll('li')].map((li) => li.textContent).join()";
    browser.wait_for(&format!("{state} == 'open'"));
    let notify = |text: &str| {
        let answer = Answer::to(address, "POST /notifications/ada", "", text);
        assert!(answer.head.starts_with("http/1.1 204 "), "{}", answer.head);
    };
    notify("one");
    notify("two");
    browser.wait_for(&format!("{list} == 'two,one'"));

    // The new server has none of the earlier notifications, so the page no longer shows them.
    drop(server);
    browser.wait_for(&format!("{state} == 'reconnecting'"));
    let (_server, _) = serve();
    notify("three");
    browser.wait_for(&format!("{list} == 'three'"));
}

/// Starts a browser, or reports that the running test is skipped.
pub(crate) fn start(name: &str) -> Option<Browser> {
    let browser = Browser::start(name);
    if browser.is_none() {
        skipped("chromium or chromedriver");
    }
    browser
}

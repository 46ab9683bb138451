//! The example pages in a real browser.
//!
//! Without chromium and chromedriver (Debian: `chromium` and `chromium-driver`) these tests tell
//! that they are skipped, and pass; with `HTTP_SSE_REAL=required` they fail instead.
#![allow(clippy::unwrap_used)]

#[path = "support/http1.rs"]
mod http1;
#[path = "support/process.rs"]
mod process;
#[path = "support/webdriver.rs"]
mod webdriver;

use std::env;

use self::{process::Process, webdriver::Browser};

#[test]
fn quickstart_shows_numbers_status_and_keep_alives() {
    let Some(browser) = start("quickstart") else {
        return;
    };
    let (_server, address) = Process::serve("quickstart");
    browser.open(&format!("http://{address}/"));

    // Each condition is polled while the stream is at its default speed.
    browser.wait_for("document.querySelector('#number').textContent >= 1");
    browser.wait_for("document.querySelector('#number').textContent >= 3");
    browser.wait_for("document.querySelector('#last-id').textContent >= 3");
    browser.wait_for("/^up \\d+s, 2 clients$/.test(document.querySelector('#status').textContent)");
    browser.wait_for("/^: keep-alive$/m.test(document.querySelector('#raw').innerText)");
    browser.wait_for("document.querySelector('#number').textContent >= 6"); // behind the silence

    let state = browser.run("return document.querySelector('#state').textContent");
    assert_eq!(state, "open");
    let raw = browser.run("return document.querySelector('#raw').innerText");
    let raw = raw.as_str().unwrap();
    assert!(raw.starts_with(":\nid: 1\ndata: 1\n"), "{raw:?}");
}

#[test]
fn llm_answers_and_stops_over_both_transports() {
    let Some(browser) = start("llm") else {
        return;
    };
    let (server, address) = Process::serve("llm");
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
        let length = "document.querySelector('#answer').textContent.length";
        browser.wait_for(&format!("{length} > 0"));
        let before = answer().len();
        browser.wait_for(&format!("{length} > {before}"));
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
        server.line("cancelled after ");

        ask(transport);
        wait_for_state("done");
        server.line("finished after ");
        let answer = answer();
        assert!(answer.starts_with("You asked: “Why?”\n"), "{answer}");
        assert!(answer.ends_with(" on the server."), "{answer}");
    }
}

fn start(name: &str) -> Option<Browser> {
    let browser = Browser::start(name);
    if browser.is_none() {
        let required = env::var("HTTP_SSE_REAL").is_ok_and(|value| value == "required");
        assert!(!required, "chromium and chromedriver are not installed");
        eprintln!("skipped: chromium and chromedriver are not installed");
    }
    browser
}

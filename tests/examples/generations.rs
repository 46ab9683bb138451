//! The example `llm`: generations that survive their connections, as a program and in a browser.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{
    browser::start, cutting_proxy::CuttingProxy, deadline::until_blocking, http1::Answer,
    process::Process, webdriver::Browser,
};

/// Returns the answer of the example to a prompt.
fn answer(prompt: &str) -> String {
    format!(
        "You asked: “{prompt}”\n\nI am not a model, but I stream like one: each token is an event, \
         and it is sent as soon as it exists. Reload this page, open its address in a second tab, \
         or cut the network: my text continues without a gap. Press Stop to cancel me. The \
         generation then ends at once, in every tab and on the server."
    )
}

/// Returns a prompt whose answer takes several seconds. Each of its words is different, so that a
/// token that is missing or doubled anywhere changes the text.
fn long_prompt() -> String {
    let words: Vec<_> = (1..=80).map(|n| format!("<b>é{n}😀&")).collect();
    words.join(" ")
}

/// A page of the example in the current tab of a browser.
struct Page<'a> {
    browser: &'a Browser,
    prompt: String,
}

impl<'a> Page<'a> {
    /// Opens the page and starts a generation.
    fn start(browser: &'a Browser, server: SocketAddr) -> Self {
        let prompt = long_prompt();
        browser.open(&format!("http://{server}/"));
        browser.run(&format!(
            "document.querySelector('#prompt').value = {};
            document.querySelector('#start').click()",
            json!(prompt)
        ));
        let page = Self { browser, prompt };
        page.wait_for_letters(1);
        page
    }

    fn url(&self) -> String {
        let url = self.browser.run("return location.href");
        url.as_str().unwrap().to_owned()
    }

    fn content(&self, id: &str) -> String {
        let script = format!("return document.querySelector('#{id}').textContent");
        self.browser.run(&script).as_str().unwrap().to_owned()
    }

    /// Waits until the answer has this many characters, as the browser counts them.
    #[track_caller]
    fn wait_for_letters(&self, letters: usize) {
        let length = "document.querySelector('#answer').textContent.length";
        self.browser.wait_for(&format!("{length} >= {letters}"));
    }

    /// Asserts that the answer is incomplete, and correct so far. Returns its number of characters,
    /// as the browser counts them.
    #[track_caller]
    fn assert_in_the_middle(&self) -> usize {
        let (text, answer) = (self.content("answer"), answer(&self.prompt));
        assert!(answer.starts_with(&text), "{text:?} in {answer:?}");
        assert!(text.len() < answer.len(), "the generation has ended");
        text.encode_utf16().count()
    }

    /// Waits for the end, and asserts that the page shows the prompt and the answer.
    #[track_caller]
    fn assert_complete(&self) {
        self.wait_for_state("done");
        assert_eq!(self.content("question"), self.prompt);
        assert_eq!(self.content("answer"), answer(&self.prompt));
    }

    #[track_caller]
    fn wait_for_state(&self, state: &str) {
        let shown = "document.querySelector('#state').textContent";
        self.browser.wait_for(&format!("{shown} == '{state}'"));
    }
}

#[test]
fn llm_page_continues_after_each_reload() {
    let Some(browser) = start("llm-reload") else {
        return;
    };
    let (server, address) = Process::serve("llm");
    let page = Page::start(&browser, address);
    for _ in 0..3 {
        let letters = page.assert_in_the_middle();
        browser.reload();
        page.wait_for_letters(letters + 1);
    }
    page.assert_in_the_middle();
    page.assert_complete();
    server.line("finished after ");

    browser.reload();
    page.assert_complete();
}

#[test]
fn llm_page_shows_the_same_in_every_tab() {
    let Some(browser) = start("llm-tabs") else {
        return;
    };
    let (server, address) = Process::serve("llm");
    let page = Page::start(&browser, address);
    let first = browser.tab();
    page.wait_for_letters(100);
    browser.open_tab(&page.url());
    page.wait_for_letters(100);
    page.assert_in_the_middle();
    page.assert_complete();
    server.line("finished after ");

    browser.switch_to(&first);
    page.assert_complete();
    browser.open_tab(&page.url());
    page.assert_complete();
}

#[test]
fn llm_page_continues_after_each_cut_of_the_network() {
    let Some(browser) = start("llm-cut") else {
        return;
    };
    let (server, address) = Process::serve("llm");
    let proxy = CuttingProxy::start(address);
    let page = Page::start(&browser, proxy.address);
    browser.run("window.opened = 0; source.addEventListener('open', () => { opened += 1 })");
    // An event has about 100 bytes. Each cut is at another place of an event.
    for cuts in 0..6 {
        page.assert_in_the_middle();
        proxy.cut_after(1 + 37 * cuts);
        browser.wait_for(&format!("opened == {cuts} + 1"));
    }

    // The generation ends while the page has no network.
    proxy.down();
    page.wait_for_state("reconnecting");
    page.assert_in_the_middle();
    server.line("finished after ");
    proxy.up();
    page.assert_complete();
    assert_eq!(browser.run("return opened"), 7);
}

#[test]
fn llm_page_stops_in_every_tab() {
    let Some(browser) = start("llm-stop") else {
        return;
    };
    let (server, address) = Process::serve("llm");
    let page = Page::start(&browser, address);
    let first = browser.tab();
    browser.open_tab(&page.url());
    page.wait_for_letters(100);
    browser.run("document.querySelector('#stop').click()");
    page.wait_for_state("cancelled");
    let letters = page.assert_in_the_middle();
    let text = page.content("answer");
    let tokens = text.split_inclusive(' ').count();
    let line = server.line("cancelled after ");
    assert_eq!(line, format!("cancelled after {tokens} tokens"));

    browser.switch_to(&first);
    page.wait_for_state("cancelled");
    assert_eq!(page.content("answer"), text);
    browser.reload();
    page.wait_for_state("cancelled");
    assert_eq!(page.content("answer"), text);
    assert_eq!(page.assert_in_the_middle(), letters);

    // The page of a server that no longer has the generation.
    drop(server);
    let (_server, address) = Process::serve("llm");
    let url = page.url();
    let (_, id) = url.split_once('#').unwrap();
    browser.open(&format!("http://{address}/#{id}"));
    page.wait_for_state("error: the server does not have this text");
}

/// Starts a generation. Returns the path of its stream.
#[track_caller]
fn generate(server: SocketAddr, prompt: &str) -> String {
    let json_type = "content-type: application/json\r\n";
    let body = json!({ "prompt": prompt }).to_string();
    let answer = Answer::to(server, "POST /generations", json_type, &body);
    assert!(answer.head.starts_with("http/1.1 201 "), "{}", answer.head);
    let head = answer.head.clone();
    let body: Value = serde_json::from_str(&answer.read_to_end()).unwrap();
    let id = body["id"].as_str().unwrap();
    assert_eq!(id.len(), 32, "{id}");
    let path = format!("/generations/{id}");
    assert!(
        head.contains(&format!("\r\nlocation: {path}\r\n")),
        "{head}"
    );
    path
}

/// Reads the stream of a generation to its end.
#[track_caller]
fn read(server: SocketAddr, path: &str, last_event_id: &str) -> String {
    let header = format!("last-event-id: {last_event_id}\r\n");
    let answer = Answer::to(server, &format!("GET {path}"), &header, "");
    assert!(answer.head.starts_with("http/1.1 200 "), "{}", answer.head);
    answer.read_to_end()
}

#[track_caller]
fn assert_status(server: SocketAddr, request: &str, status: u16) {
    let answer = Answer::to(server, request, "", "");
    let line = format!("http/1.1 {status} ");
    assert!(answer.head.starts_with(&line), "{request}: {}", answer.head);
}

const OPENING: &str = ":\nretry: 500\n";

#[test]
fn llm_generation_is_streamed_from_its_start_or_after_any_event() {
    let (server, address) = Process::serve("llm");
    let path = generate(address, "Why?\nWhy?");
    let get = format!("GET {path}");
    let mut live = Answer::to(address, &get, "", "");
    live.read_until("asked: ");
    let mut late = Answer::to(address, &get, "", "");
    late.read_until("I ");

    let body = live.read_to_end();
    assert_eq!(late.read_to_end(), body);
    assert_eq!(read(address, &path, ""), body);
    let (_, first) = body.split_once("\nid: ").unwrap();
    let (epoch, _) = first.split_once("-1\n").unwrap();
    let data = |data: Value| format!("data: {data}\n");
    let answer = answer("Why?\nWhy?");
    let tokens: Vec<_> = answer.split_inclusive(' ').collect();
    let delta = |token| json!({ "choices": [{ "delta": { "content": token }, "index": 0 }] });
    let mut events = vec!["event: prompt\ndata: Why?\ndata: Why?\n".to_owned()];
    events.extend(tokens.iter().map(|token| data(delta(token))));
    let finish = json!({ "delta": {}, "finish_reason": "stop", "index": 0 });
    events.push(data(json!({ "choices": [finish] })));
    events.push("data: [DONE]\n".to_owned());
    let ids = (1..).map(|n| format!("id: {epoch}-{n}\n\n"));
    let events: Vec<_> = events.into_iter().zip(ids).map(|(a, b)| a + &b).collect();
    assert_eq!(body, OPENING.to_owned() + &events.concat());

    for last in 1..=events.len() {
        let rest = read(address, &path, &format!("{epoch}-{last}"));
        assert_eq!(rest, OPENING.to_owned() + &events[last..].concat());
    }
    let line = server.line("finished after ");
    assert_eq!(line, format!("finished after {} tokens", tokens.len()));
}

#[test]
fn llm_generation_is_cancelled_for_every_listener() {
    let (server, address) = Process::serve("llm");
    let path = generate(address, "Why?");
    let other = generate(address, "Why?");
    let get = format!("GET {path}");
    let mut listeners = [(); 2].map(|()| Answer::to(address, &get, "", ""));
    for listener in &mut listeners {
        listener.read_until("asked: ");
    }
    assert_status(address, &format!("DELETE {path}"), 204);
    let bodies = listeners.map(Answer::read_to_end);
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(read(address, &path, ""), bodies[0]);
    let (_, end) = bodies[0].rsplit_once("\"finish_reason\":").unwrap();
    assert!(
        end.starts_with("\"cancelled\",\"index\":0}]}\nid: "),
        "{end}"
    );
    assert!(end.contains("\n\ndata: [DONE]\nid: "), "{end}");
    server.line("cancelled after ");
    assert_status(address, &format!("DELETE {path}"), 404);

    // The other generation continues.
    let body = read(address, &other, "");
    assert!(body.contains("\"finish_reason\":\"stop\""), "{body}");
    server.line("finished after ");
}

#[test]
fn llm_generation_is_cancelled_when_nobody_listens() {
    let (server, address) = Process::serve_with("llm", &[("ABANDONED_AFTER_MS", "2000")]);
    let assert_cancelled = |path: &str| {
        server.line("cancelled after ");
        let body = read(address, path, "");
        assert!(body.contains("\"finish_reason\":\"cancelled\""), "{body}");
    };
    // Nobody ever listens.
    assert_cancelled(&generate(address, &long_prompt()));

    // The only listener leaves.
    let path = generate(address, &long_prompt());
    let mut listener = Answer::to(address, &format!("GET {path}"), "", "");
    listener.read_until("asked: ");
    drop(listener);
    assert_cancelled(&path);

    // One of two listeners leaves.
    let path = generate(address, "Why?");
    let mut listeners = [(); 2].map(|()| Answer::to(address, &format!("GET {path}"), "", ""));
    for listener in &mut listeners {
        listener.read_until("asked: ");
    }
    let [staying, leaving] = listeners;
    drop(leaving);
    let body = staying.read_to_end();
    assert!(body.contains("\"finish_reason\":\"stop\""), "{body}");
    server.line("finished after ");
}

#[test]
fn llm_generation_is_no_longer_available_after_some_time() {
    let (server, address) = Process::serve_with("llm", &[("FINISHED_FOR_MS", "300")]);
    let path = generate(address, "Why?");
    assert_status(address, &format!("DELETE {path}"), 204);
    server.line("cancelled after ");
    let get = format!("GET {path}");
    until_blocking("the status 204", || {
        let answer = Answer::to(address, &get, "", "");
        answer.head.starts_with("http/1.1 204 ")
    });
    let last = "last-event-id: 1795243200000000-1\r\n";
    let answer = Answer::to(address, &get, last, "");
    assert!(answer.head.starts_with("http/1.1 204 "), "{}", answer.head);
}

#[test]
fn llm_has_no_unknown_generation_and_refuses_bad_prompts() {
    let (_server, address) = Process::serve("llm");
    for request in ["GET /generations/1", "DELETE /generations/1"] {
        assert_status(address, request, 404);
        assert_status(address, request, 404); // the first request has created nothing
    }
    let json_type = "content-type: application/json\r\n";
    let long = json!({ "prompt": "x".repeat(16 << 10) }).to_string();
    for (headers, body, status) in [
        ("", r#"{"prompt":""}"#, 415),
        (json_type, "garbage", 400),
        (json_type, "{}", 422),
        (json_type, &long, 413),
    ] {
        let answer = Answer::to(address, "POST /generations", headers, body);
        let line = format!("http/1.1 {status} ");
        assert!(answer.head.starts_with(&line), "{}", answer.head);
    }
}

//! Client libraries and curl. Each reads the same script, sent in several forms.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
};

use futures_util::stream;
use http_sse::{Event, EventId, Retry, Sse};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    client::{CLIENTS, Client, ComesBack, NODE, PYTHON},
    deadline::within,
    results,
    script::{self, Form},
    server::{Server, sse},
    tools::{find, turn},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_read_the_script_and_reconnect() {
    let _turn = turn().await;
    if find([NODE, PYTHON]).is_none() {
        return;
    }
    let server = Server::start();
    let mut rows = vec![vec!["client".into()]];
    rows[0].extend(Form::ALL.map(|form| form.name().into()));
    rows[0].extend(["reconnects with its id", "also"].map(String::from));
    for client in &CLIENTS {
        takes_every_form(client, &server).await;
        if client.comes_back != ComesBack::No {
            comes_back(client, &server).await;
        }
        rows.push(client.row());
    }
    // The first form is the default of this crate. No client fails on it.
    assert!(rows[1..].iter().all(|row| row[1] == "ok"));
    // In two tables, because one would be wider than a page.
    let columns = |of: &[usize]| -> Vec<Vec<String>> {
        let row = |row: &Vec<String>| of.iter().map(|&column| row[column].clone()).collect();
        rows.iter().map(row).collect()
    };
    results::check("Clients", &columns(&[0, 1, 2, 3, 4]));
    results::check("Reconnection times and ids", &columns(&[0, 5, 6, 7, 8]));
}

async fn takes_every_form(client: &Client, server: &Server) {
    let script = client.script;
    let urls = Form::ALL.map(|form| {
        let base = format!("/{}/{form:?}", client.file);
        server.route(&format!("{base}{}", client.path), move |_| {
            script::answer(form, script(), Arc::default())
        });
        format!("http://{}{base}", server.address)
    });
    let read = client.run(&urls).await;
    for (form, read) in Form::ALL.into_iter().zip(read) {
        assert_same(
            &client.expected(form),
            &read,
            &format!("{}, {form:?}", client.name()),
        );
    }
}

/// Sends nine events over three connections, each of which the server ends.
async fn comes_back(client: &Client, server: &Server) {
    for prefix in ["", "☃"] {
        let path = format!("/{}/back/{}", client.file, prefix.len());
        let url = server.route(&path, move |ask| {
            let last = ask.last.as_str().unwrap_or("0").trim_start_matches(prefix);
            let last = last.parse::<u64>().unwrap();
            let events = (last + 1..=last + 3).map(move |n| {
                let data = if n == 9 {
                    "[DONE]".into()
                } else {
                    n.to_string()
                };
                Event::data(data).id(EventId::new(format!("{prefix}{n}")).unwrap())
            });
            sse(Sse::new(stream::iter(events)).retry(Retry::from_millis(10)))
        });
        let [read] = &client.run(&[url]).await[..] else {
            unreachable!()
        };
        let fails = match client.comes_back {
            ComesBack::WithLatin1(error) if !prefix.is_ascii() => Some(error),
            _ => None,
        };
        let mut expected = (1..=9)
            .map(|n| {
                json!([
                    if n == 9 {
                        "[DONE]".into()
                    } else {
                        n.to_string()
                    },
                    format!("{prefix}{n}")
                ])
            })
            .collect::<Vec<_>>();
        let mut asked = vec![String::new(), format!("{prefix}3"), format!("{prefix}6")];
        if let Some(error) = fails {
            expected.truncate(3);
            expected.push(json!({ "error": error }));
            asked.truncate(1);
        }
        let read = read.iter().map(|read| match read.as_array() {
            Some(read) => json!(read[1..]),
            None => read.clone(),
        });
        assert_same(&expected, &read.collect::<Vec<_>>(), &client.name());
        assert_eq!(server.asked(&path), asked, "{}", client.name());
    }
}

#[track_caller]
fn assert_same(expected: &[Value], read: &[Value], by: &str) {
    for n in 0..expected.len().max(read.len()) {
        let (expected, read) = (expected.get(n), read.get(n));
        assert_eq!(expected, read, "the first difference is at {n}, by {by}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_reads_every_byte() {
    let _turn = turn().await;
    let Some([curl]) = find(["curl"]) else {
        return;
    };
    let server = Server::start();
    for form in Form::ALL {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let note = sent.clone();
        let url = server.route("/", move |_| {
            script::answer(form, script::plain(), note.clone())
        });
        let mut command = Command::new(&curl);
        let command = command.args(["--silent", "--no-buffer", "--fail", &url]);
        let command = command.stderr(Stdio::inherit()).kill_on_drop(true);
        let output = within("curl to end", command.output()).await.unwrap();
        assert!(output.status.success(), "{form:?}");
        assert!(output.stdout == *sent.lock().unwrap(), "{form:?}");
        assert!(
            output
                .stdout
                .ends_with(b"\nid: 29\ndata: 29\n\ndata: [DONE]\n\n")
        );
    }
}

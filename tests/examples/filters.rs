//! The examples that read stdin and write stdout do what their headers say.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
    thread,
    time::Duration,
};

use crate::{
    deadline::{exited, joined},
    process::example,
};

/// An example that reads stdin and writes stdout. It is killed when this is dropped, which also
/// ends whoever waits for its pipes.
struct Filter {
    child: Child,
    /// Both are closed when they are taken and dropped.
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Filter {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(example(name))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        Self {
            stdin: child.stdin.take(),
            stdout,
            child,
        }
    }

    /// Writes to its stdin, which stays open.
    fn write(&mut self, bytes: &[u8]) {
        // has a deadline: a pipe takes the few lines that there are
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Reads the next line of its stdout.
    #[track_caller]
    fn line(&mut self) -> String {
        let mut stdout = self.stdout.take().unwrap();
        let reader = thread::spawn(move || {
            let mut line = String::new();
            // has a deadline: that of the thread
            stdout.read_line(&mut line).unwrap();
            (stdout, line)
        });
        let (stdout, line) = joined("a line of a filter", reader);
        self.stdout = Some(stdout);
        line
    }

    /// Writes all of its stdin, closes it, and waits for the end.
    #[track_caller]
    fn run(mut self, input: &[u8]) -> Output {
        let mut stdin = self.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = thread::spawn(move || _ = stdin.write_all(&input)); // it may end before
        let output = self.rest();
        joined("the input to be taken", writer);
        output
    }

    /// Closes the reading end of its stdout and writes this line, over and over, until it has
    /// ended, while stdin is open still.
    ///
    /// Once is not enough: a process that another test starts holds a copy of the reading end
    /// until it executes its program, and meanwhile the filter can write.
    #[track_caller]
    fn run_with_nobody_reading(mut self, line: &'static [u8]) -> Output {
        drop(self.stdout.take());
        let mut stdin = self.stdin.take().unwrap();
        let writer = thread::spawn(move || {
            // has a deadline: that of the thread
            while stdin.write_all(line).is_ok() {
                thread::sleep(Duration::from_millis(2));
            }
        });
        let output = self.rest();
        joined("the writing to fail", writer);
        output
    }

    /// Returns everything that it writes until it ends.
    #[track_caller]
    fn rest(&mut self) -> Output {
        let stdout = self.stdout.take();
        let stdout = thread::spawn(move || {
            let mut bytes = Vec::new();
            // has a deadline: that of the thread
            stdout.map(|mut stdout| stdout.read_to_end(&mut bytes).unwrap());
            bytes
        });
        let mut stderr = self.child.stderr.take().unwrap();
        let stderr = thread::spawn(move || {
            let mut bytes = Vec::new();
            // has a deadline: that of the thread
            stderr.read_to_end(&mut bytes).unwrap();
            bytes
        });
        Output {
            status: exited("a filter to end", &mut self.child),
            stdout: joined("the end of its stdout", stdout),
            stderr: joined("the end of its stderr", stderr),
        }
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        _ = self.child.kill();
        // A test that has failed must not fail again here.
        if !thread::panicking() {
            exited("a killed filter to end", &mut self.child);
        }
    }
}

fn encode(stdin: &[u8]) -> Output {
    Filter::start("encode", &[]).run(stdin)
}

#[test]
fn encode_writes_each_line_as_an_event() {
    for (line, event) in [
        (r#"{"data":"a"}"#, "data: a\n\n"),
        (r#"{"data":""}"#, "data: \n\n"),
        (
            r#"{"data":"a\nb\rc\r\nd\n"}"#,
            "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n",
        ),
        (r#"{"data":"\r\n"}"#, "data: \ndata: \n\n"),
        (r#"{"data":" a\u0000é\ufeff"}"#, "data:  a\0é\u{feff}\n\n"),
        (r#"{"event":"tick","data":"a"}"#, "event: tick\ndata: a\n\n"),
        (r#"{"event":""}"#, "event: \n\n"),
        (r#"{"id":"7"}"#, "id: 7\n\n"),
        (r#"{"id":""}"#, "id: \n\n"),
        (r#"{"retry":1}"#, "retry: 1\n"),
        (
            r#"{"retry":2147483647,"data":"a"}"#,
            "retry: 2147483647\ndata: a\n\n",
        ),
        (r#"{"comment":"a"}"#, ": a\n"),
        (r#"{"comment":"a\nb\r\n"}"#, ": a\n: b\n: \n"),
        (r#"{"comment":""}"#, ":\n"),
        (
            r#"{"data":"d","retry":5,"id":"i","event":"e","comment":"c"}"#,
            ": c\nevent: e\nid: i\nretry: 5\ndata: d\n\n",
        ),
        (r#"{"data":null,"id":"7"}"#, "id: 7\n\n"),
        (" \t{ \"data\" : \"a\" }\t\r", "data: a\n\n"),
        ("{}", ""),
        ("", ""),
        (" \t\r", ""),
    ] {
        for line_end in ["\n", ""] {
            let output = encode(format!("{line}{line_end}").as_bytes());
            assert_eq!(String::from_utf8(output.stdout).unwrap(), event, "{line}");
            assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{line}");
            assert_eq!(output.status.code(), Some(0), "{line}");
        }
    }
}

#[test]
fn encode_refuses_what_is_no_event_and_goes_on() {
    for (line, why) in [
        (&b"garbage"[..], "not a JSON object"),
        (b"[\"a\",null,null,null,null]", "not a JSON object"),
        (b"7", "not a JSON object"),
        (b"\xef\xbb\xbf{}", "not a JSON object"),
        (b"{", "EOF while parsing an object at column 1"),
        (b"{\"data\":\"a\"} {}", "trailing characters at column 14"),
        (
            b"{\"topic\":1}",
            "unknown field `topic`, expected one of `event`, `data`, `id`, `retry`, `comment` \
             at column 8",
        ),
        (
            b"{\"data\":\"a\",\"data\":\"b\"}",
            "duplicate field `data` at column 18",
        ),
        (
            b"{\"data\":7}",
            "invalid type: integer `7`, expected a string at column 9",
        ),
        (
            b"{\"id\":7}",
            "invalid type: integer `7`, expected a string at column 7",
        ),
        (
            b"{\"data\":\"\\ud800\"}",
            "unexpected end of hex escape at column 16",
        ),
        (
            b"{\"data\":\"\xff\"}",
            "invalid utf-8 sequence of 1 bytes from index 9",
        ),
        (b"\xff", "invalid utf-8 sequence of 1 bytes from index 0"),
        (
            b"{\"event\":\"a\\nb\"}",
            "the caller's `event` has '\\n' at byte 1, which the field cannot carry",
        ),
        (
            b"{\"id\":\"a\\u0000\"}",
            "the caller's `id` has '\\0' at byte 1, which the field cannot carry",
        ),
        (
            b"{\"id\":\"\\r\"}",
            "the caller's `id` has '\\r' at byte 0, which the field cannot carry",
        ),
        (
            b"{\"retry\":0}",
            "the caller's `retry` of 0 ms is not in 1 to 2147483647 ms",
        ),
        (
            b"{\"retry\":2147483648}",
            "the caller's `retry` of 2147483648 ms is not in 1 to 2147483647 ms",
        ),
        (
            b"{\"retry\":-1}",
            "invalid value: integer `-1`, expected u64 at column 11",
        ),
        (
            b"{\"retry\":1.5}",
            "invalid type: floating point `1.5`, expected u64 at column 12",
        ),
        (
            b"{\"retry\":\"1\"}",
            "invalid type: string \"1\", expected u64 at column 12",
        ),
    ] {
        // As the third line, behind a blank one, and before another event.
        let stdin = [
            b"{\"data\":\"before\"}\n\n",
            line,
            b"\n{\"data\":\"behind\"}\n",
        ]
        .concat();
        let output = encode(&stdin);
        let line = String::from_utf8_lossy(line);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr, format!("line 3: {why}\n"), "{line}");
        assert_eq!(output.stdout, b"data: before\n\ndata: behind\n\n", "{line}");
        assert_eq!(output.status.code(), Some(1), "{line}");
    }
}

#[test]
fn encode_takes_very_long_lines() {
    let data = "x".repeat(8 << 20);
    let output = encode(format!("{{\"data\":\"{data}\"}}\n{{\"id\":\"7\"}}\n").as_bytes());
    assert!(output.stdout == format!("data: {data}\n\nid: 7\n\n").as_bytes());
    assert!(output.status.success());
}

#[test]
fn encode_writes_an_event_before_the_next_line_and_ends_quietly_when_nobody_reads_on() {
    let mut encode = Filter::start("encode", &[]);
    encode.write(b"{\"data\":\"a\"}\n");
    let event = [encode.line(), encode.line()].concat();
    assert_eq!(event, "data: a\n\n"); // stdin is open still

    let output = encode.run_with_nobody_reading(b"{\"data\":\"b\"}\n");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

fn decode(arguments: &[&str], stdin: &[u8]) -> Output {
    Filter::start("decode", arguments).run(stdin)
}

/// A stream, and the lines that are written with `--all`.
const DECODED: &[(&[u8], &[&str])] = &[
    (b"", &[]),
    (
        b"data: a\n\n",
        &[r#"{"event":"message","data":"a","lastEventId":""}"#],
    ),
    (
        b"\xef\xbb\xbfevent: tick\r\nid: 7\r\ndata: a\r\ndata:  b\r\n\r\ndata\r\r",
        &[
            r#"{"event":"tick","data":"a\n b","lastEventId":"7"}"#,
            r#"{"event":"message","data":"","lastEventId":"7"}"#,
        ],
    ),
    (
        "id: é\"\\\ndata: \0\u{1}\t\"\\/é🦀\u{2028}\u{feff}\n\n".as_bytes(),
        &[concat!(
            r#"{"event":"message","data":"\u0000\u0001\t\"\\/é🦀"#,
            "\u{2028}\u{feff}",
            r#"","lastEventId":"é\"\\"}"#
        )],
    ),
    (
        b"data: \xff\xe2\x82\n\n",
        &["{\"event\":\"message\",\"data\":\"\u{fffd}\u{fffd}\",\"lastEventId\":\"\"}"],
    ),
    (
        b": a\n:b\n:  c\n:\n",
        &[
            r#"{"comment":"a"}"#,
            r#"{"comment":"b"}"#,
            r#"{"comment":" c"}"#,
            r#"{"comment":""}"#,
        ],
    ),
    (
        b"retry: 3000\nretry: 1x\nretry: 0\nretry: 99999999999999999999\n",
        &[
            r#"{"retry":3000}"#,
            r#"{"retry":0}"#,
            r#"{"retry":18446744073709551615}"#,
        ],
    ),
    (
        b"id: 7\n\nevent: a\n\ndata: a\n\nid\n\ndata: b\n\n",
        &[
            r#"{"lastEventId":"7"}"#,
            r#"{"event":"message","data":"a","lastEventId":"7"}"#,
            r#"{"lastEventId":""}"#,
            r#"{"event":"message","data":"b","lastEventId":""}"#,
        ],
    ),
    (
        b"id: 1\ndata: a\n:c\nretry: 5\ndata: b\n\n",
        &[
            r#"{"comment":"c"}"#,
            r#"{"retry":5}"#,
            r#"{"event":"message","data":"a\nb","lastEventId":"1"}"#,
        ],
    ),
    (b"id: 7\ndata: cut\n", &[]),
    (b"data: cut", &[]),
];

#[test]
fn decode_writes_a_line_for_each_event() {
    for (stdin, lines) in DECODED {
        let all: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let events = lines.iter().filter(|line| line.starts_with("{\"event\":"));
        let events: String = events.map(|line| format!("{line}\n")).collect();
        for (arguments, stdout) in [(&[][..], events), (&["--all"], all)] {
            let output = decode(arguments, stdin);
            let stdin = String::from_utf8_lossy(stdin);
            assert_eq!(String::from_utf8(output.stdout).unwrap(), stdout);
            assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{stdin:?}");
            assert_eq!(output.status.code(), Some(0), "{stdin:?}");
        }
    }
}

#[test]
fn decode_writes_an_event_as_soon_as_it_has_ended() {
    let mut decode = Filter::start("decode", &["--all"]);
    // Each piece ends where something comes of it, and the next begins in the middle: a CRLF is
    // split, and so is a line, a character and the byte order mark.
    for (pieces, line) in [
        (&[&b"\xef\xbb"[..], b"\xbf: a\r"][..], r#"{"comment":"a"}"#),
        (&[b"\nretry: 5\n"], r#"{"retry":5}"#),
        (
            &[b"id: 7\nda", b"ta: \xc3", b"\xa9\r\n\r"],
            r#"{"event":"message","data":"é","lastEventId":"7"}"#,
        ),
        (
            &[b"\n", b"\n", b"data\n\n"],
            r#"{"event":"message","data":"","lastEventId":"7"}"#,
        ),
    ] {
        for piece in pieces {
            decode.write(piece);
        }
        assert_eq!(decode.line(), format!("{line}\n")); // stdin is open still
    }

    let output = decode.run_with_nobody_reading(b"data: nobody reads this\n\n");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn decode_refuses_a_line_beyond_the_limit_and_arguments_that_it_does_not_know() {
    let limit = 16 << 20;
    let line = vec![b':'; limit];
    let output = decode(&[], &[&line, &b"\ndata: a\n\n"[..]].concat());
    assert!(output.stdout.starts_with(b"{\"event\""), "{output:?}");
    assert_eq!(output.status.code(), Some(0));

    let output = decode(&[], &[&b"data: a\n\n:"[..], &line].concat());
    assert!(output.stdout.starts_with(b"{\"event\""), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "the stream has a line of more than 16777216 bytes\n"
    );
    assert_eq!(output.status.code(), Some(1));

    for arguments in [&["--al"][..], &["--all", "-"], &[""]] {
        let output = decode(arguments, b"data: a\n\n");
        assert_eq!(output.stdout, b"", "{arguments:?}");
        assert_eq!(output.stderr, b"usage: decode [--all] <event-stream\n");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn decode_reads_back_what_encode_writes() {
    let lines = [
        r#"{"comment":"hello\n"}"#,
        r#"{"event":"tick","id":"7","data":"a\r\nb\rc\n","retry":3000}"#,
        r#"{"data":" é\u0000\ufeff"}"#,
        r#"{"id":""}"#,
        r#"{"event":"","data":""}"#,
    ];
    let encoded = encode(lines.join("\n").as_bytes());
    let decoded = decode(&["--all"], &encoded.stdout);
    let decoded = String::from_utf8(decoded.stdout).unwrap();
    let decoded: Vec<_> = decoded.lines().collect();
    assert_eq!(
        decoded,
        [
            r#"{"comment":"hello"}"#,
            r#"{"comment":""}"#,
            r#"{"retry":3000}"#,
            r#"{"event":"tick","data":"a\nb\nc\n","lastEventId":"7"}"#,
            "{\"event\":\"message\",\"data\":\" é\\u0000\u{feff}\",\"lastEventId\":\"7\"}",
            r#"{"lastEventId":""}"#,
            r#"{"event":"message","data":"","lastEventId":""}"#,
        ]
    );
}

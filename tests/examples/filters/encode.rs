//! The example `encode`.

use super::{encode, filter::Filter};

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

//! The example `decode`.

use super::{decode, encode, filter::Filter};

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

//! The last event ID and the `accept` headers of arbitrary requests. The results are compared with
//! a reading by the RFC, and with the parser of the URL standard.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header::ACCEPT};
use http_sse::{LastEventId, accepts_event_stream};
use libfuzzer_sys::fuzz_target;

// The lines of the input are the query, the header `last-event-id`, and the `accept` headers.
fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|&byte| byte == b'\n');
    let query = lines.next().unwrap_or_default();
    let last = HeaderValue::from_bytes(lines.next().unwrap_or_default());
    let accepts: Vec<_> = lines.flat_map(HeaderValue::from_bytes).collect();

    check_last_event_id(&String::from_utf8_lossy(query), last.ok());
    check_accept(&accepts);
});

fn check_last_event_id(query: &str, header: Option<HeaderValue>) {
    const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

    let read = |query: &str, header: Option<&HeaderValue>| {
        let uri: Uri = format!("/?{query}").parse().ok()?;
        let mut request = Request::get(uri).body(()).ok()?;
        if let Some(header) = header {
            request.headers_mut().insert(LAST_EVENT_ID, header.clone());
        }
        let last = LastEventId::from_request(&request);
        assert_eq!(last, LastEventId::new(request.headers(), request.uri()));
        assert_eq!(last.is_empty(), last.as_bytes().is_empty());
        assert!(
            last.as_str()
                .is_none_or(|text| text.as_bytes() == last.as_bytes())
        );
        assert_eq!(last.parse::<String>().as_deref(), last.as_str());
        _ = last.parse::<u64>();
        Some(last)
    };

    // A query without a header.
    if let Some(last) = read(query, None) {
        // A fragment is no part of the query.
        let query = query.split('#').next().unwrap_or_default();
        let expected = form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "lastEventId")
            .map_or_else(String::new, |(_, value)| value.into_owned());
        assert_eq!(String::from_utf8_lossy(last.as_bytes()), expected);
    }

    // An empty header counts as absent.
    let empty = HeaderValue::from_static("");
    assert_eq!(read(query, Some(&empty)), read(query, None));

    // Any other header takes precedence. The same bytes in the query are the same ID.
    if let Some(header) = header.filter(|header| !header.is_empty()) {
        let from_header = read("lastEventId=other", Some(&header)).expect("the request is valid");
        assert_eq!(from_header.as_bytes(), header.as_bytes());
        let id: String = form_urlencoded::byte_serialize(header.as_bytes()).collect();
        let from_query =
            read(&format!("a=b&lastEventId={id}&c"), None).expect("the request is valid");
        assert_eq!(from_query, from_header);
    }
}

fn check_accept(values: &[HeaderValue]) {
    let accepts = |values: &[&[u8]]| {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value).expect("the bytes are from a header value");
            headers.append(ACCEPT, value);
        }
        accepts_event_stream(headers.get_all(ACCEPT))
    };
    let values: Vec<&[u8]> = values.iter().map(HeaderValue::as_bytes).collect();
    let accepted = accepts(&values);
    assert_eq!(accepted, naive(&values));

    let reversed: Vec<_> = values.iter().rev().copied().collect();
    assert_eq!(accepts(&reversed), accepted, "the order does not matter");
    let capitals: Vec<_> = values
        .iter()
        .map(|value| value.to_ascii_uppercase())
        .collect();
    let capitals: Vec<_> = capitals.iter().map(Vec::as_slice).collect();
    assert_eq!(accepts(&capitals), accepted, "the case does not matter");
    let asked = [&values[..], &[b"text/event-stream"]].concat();
    assert!(accepts(&asked), "an explicit request is accepted");
}

/// Follows RFC 9110, section 12.5.1, list by list and character by character.
fn naive(values: &[&[u8]]) -> bool {
    let ranges = values.iter().flat_map(|value| split(value, b','));
    let ranges: Vec<Vec<u8>> = ranges.filter(|range| !range.is_empty()).collect();
    if ranges.is_empty() {
        return true; // "no Accept header field [...] any media type is acceptable"
    }
    let parsed: Vec<_> = ranges.iter().filter_map(|range| parse(range)).collect();
    // "the most specific reference has precedence"
    for name in ["text/event-stream", "text/*", "*/*"] {
        let mut of_name = parsed.iter().filter(|(range, _)| range == name).peekable();
        if of_name.peek().is_some() {
            return of_name.any(|(_, quality)| *quality > 0.0);
        }
    }
    false
}

/// Returns the name of a range in lower case, and its quality. Returns `None` for an invalid range.
fn parse(range: &[u8]) -> Option<(String, f32)> {
    let mut parts = split(range, b';').into_iter();
    let name = String::from_utf8(parts.next()?).ok()?.to_ascii_lowercase();
    let quality = parts.find_map(|part| match &*part {
        [b'q' | b'Q', b'=', quality @ ..] => Some(String::from_utf8_lossy(quality).into_owned()),
        _ => None,
    });
    let Some(quality) = quality else {
        return Some((name, 1.0));
    };
    let (whole, decimals) = quality.split_once('.').unwrap_or((&quality, ""));
    let digits = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let number = format!("{whole}.{decimals}0").parse().ok()?;
    // Older Java clients omit the zero.
    let has_whole = matches!(whole, "0" | "1") || whole.is_empty() && !decimals.is_empty();
    let legal = has_whole && digits && number <= 1.0;
    legal.then_some((name, number))
}

/// Splits a list into trimmed elements. Separators in quotes do not count.
fn split(list: &[u8], separator: u8) -> Vec<Vec<u8>> {
    let mut elements = vec![Vec::new()];
    let mut bytes = list.iter().copied();
    let mut quoted = false;
    while let Some(byte) = bytes.next() {
        if byte == separator && !quoted {
            elements.push(Vec::new());
            continue;
        }
        let element = elements.last_mut().expect("there is always an element");
        element.push(byte);
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => element.extend(bytes.next()),
            _ => {}
        }
    }
    for element in &mut elements {
        *element = element.trim_ascii().to_vec();
    }
    elements
}

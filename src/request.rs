//! The parts of a request that matter for an event stream.

use std::{convert::Infallible, str::FromStr};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Uri};
use percent_encoding::percent_decode;

/// The last event ID that a client sends when it reconnects, byte for byte (9.2.4 of the standard).
///
/// It is read from the header `last-event-id`. For clients that cannot set the header, it is read
/// from the parameter `lastEventId` of the query. The header takes precedence, because an
/// `EventSource` reconnects with the query that it was created with. A missing ID and an empty one
/// are the same.
///
/// No value is rejected. The server decides how to read it.
///
/// ```
/// use http::Request;
/// use http_sse::LastEventId;
///
/// let request = Request::get("/prices?lastEventId=41%20b").body(()).unwrap();
/// assert_eq!(LastEventId::from_request(&request).as_str(), Some("41 b"));
///
/// let request = Request::get("/prices").header("last-event-id", "42").body(()).unwrap();
/// let last = LastEventId::from_request(&request);
/// assert_eq!(last.as_bytes(), b"42");
/// assert_eq!(last.parse::<u64>(), Some(42));
/// assert_eq!(last.parse::<std::net::IpAddr>(), None);
///
/// let first = LastEventId::from_request(&Request::new(()));
/// assert!(first.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LastEventId(Bytes);

impl LastEventId {
    /// Reads the last event ID of a request.
    #[must_use]
    pub fn from_request<B>(request: &Request<B>) -> Self {
        Self::new(request.headers(), request.uri())
    }

    /// Reads the last event ID from the headers, or else from the query.
    #[must_use]
    pub fn new(headers: &HeaderMap, uri: &Uri) -> Self {
        let header = |name| headers.get(name).map(HeaderValue::as_bytes);
        Self::look_up(header, uri.query())
    }

    /// Reads the last event ID with the types of a framework. `header` returns a header by its name.
    pub(crate) fn look_up<'a>(
        header: impl FnOnce(&'static str) -> Option<&'a [u8]>,
        query: Option<&str>,
    ) -> Self {
        let from_header = header("last-event-id")
            .filter(|value| !value.is_empty())
            .map(Bytes::copy_from_slice);
        Self(
            from_header
                .or_else(|| query_parameter(query?, b"lastEventId"))
                .unwrap_or_default(),
        )
    }

    /// Returns whether the client has no last event ID.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the bytes that the client sent. Browsers send an id in UTF-8.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the text, or `None` if it is empty or not UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0)
            .ok()
            .filter(|text| !text.is_empty())
    }

    /// Returns the parsed text, or `None` if it is empty, not UTF-8, or does not parse.
    #[must_use]
    pub fn parse<T: FromStr>(&self) -> Option<T> {
        self.as_str()?.parse().ok()
    }
}

/// Accepts any text as a last event ID, for tests and for IDs that arrive in another way.
impl FromStr for LastEventId {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(Bytes::copy_from_slice(text.as_bytes())))
    }
}

/// Returns whether a client accepts an event stream, from the values of its `accept` headers
/// (RFC 9110, section 12.5.1).
///
/// The most specific media range that matches decides: `text/event-stream`, then `text/*`, then
/// `*/*`. It accepts if its quality is above zero. Parameters other than `q` are ignored, as are
/// ranges that cannot be read. A client without an `accept` header accepts everything.
///
/// The values may come from the header map of any framework.
///
/// ```
/// use http::{HeaderMap, header::ACCEPT};
/// use http_sse::accepts_event_stream;
///
/// assert!(accepts_event_stream(["text/event-stream"]));
/// assert!(accepts_event_stream(["text/html", "application/json, text/*;q=0.1"]));
/// assert!(!accepts_event_stream(["*/*, text/event-stream;q=0"]));
/// assert!(!accepts_event_stream(["application/json"]));
///
/// let headers = HeaderMap::new();
/// assert!(accepts_event_stream(headers.get_all(ACCEPT)));
/// ```
#[must_use]
pub fn accepts_event_stream<V: AsRef<[u8]>>(accept: impl IntoIterator<Item = V>) -> bool {
    let mut any_range = false;
    let mut best: Option<(Specificity, bool)> = None;
    for value in accept {
        for range in split_unquoted(value.as_ref(), b',').map(<[u8]>::trim_ascii) {
            any_range |= !range.is_empty();
            let Some((specificity, accepted)) = media_range(range) else {
                continue;
            };
            best = match best {
                Some((found, was)) if found > specificity => Some((found, was)),
                Some((found, was)) if found == specificity => Some((found, was || accepted)),
                _ => Some((specificity, accepted)),
            };
        }
    }
    best.map_or(!any_range, |(_, accepted)| accepted)
}

/// The precision with which a media range names `text/event-stream`.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Specificity {
    Anything,
    AnyText,
    EventStream,
}

/// Returns whether a media range accepts `text/event-stream`, or `None` if it does not match.
fn media_range(range: &[u8]) -> Option<(Specificity, bool)> {
    let mut parts = split_unquoted(range, b';').map(<[u8]>::trim_ascii);
    let name = parts.next()?;
    let specificity = if name.eq_ignore_ascii_case(b"text/event-stream") {
        Specificity::EventStream
    } else if name.eq_ignore_ascii_case(b"text/*") {
        Specificity::AnyText
    } else if name == b"*/*" {
        Specificity::Anything
    } else {
        return None;
    };
    let quality = parts.find_map(|parameter| {
        let equals = parameter.iter().position(|&byte| byte == b'=')?;
        let (name, value) = (&parameter[..equals], &parameter[equals + 1..]);
        name.eq_ignore_ascii_case(b"q").then_some(value)
    });
    let accepted = match quality {
        None => true,
        Some(quality) => is_above_zero(quality)?,
    };
    Some((specificity, accepted))
}

/// Returns whether a quality is above zero, or `None` if it is not a quality: `0` or `1` and at most
/// three decimals (RFC 9110, section 12.4.2). The `0` may be missing, because older Java clients
/// send `.2`.
fn is_above_zero(quality: &[u8]) -> Option<bool> {
    let (whole, decimals) = match quality {
        [b'.', decimals @ ..] if !decimals.is_empty() => (&b'0', decimals),
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] => (whole, decimals),
        _ => return None,
    };
    let zeros = decimals.iter().all(|&digit| digit == b'0');
    let digits = decimals.iter().all(u8::is_ascii_digit);
    match whole {
        b'0' if digits && decimals.len() <= 3 => Some(!zeros),
        b'1' if zeros && decimals.len() <= 3 => Some(true),
        _ => None,
    }
}

/// Splits a text at `separator`, except inside quoted strings.
fn split_unquoted(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |&byte| {
        let escape = quoted && !escaped && byte == b'\\';
        if byte == b'"' && !escaped {
            quoted = !quoted;
        }
        escaped = escape;
        !quoted && byte == separator
    })
}

/// Returns the first parameter of a query with this name, decoded as a form.
fn query_parameter(query: &str, name: &[u8]) -> Option<Bytes> {
    query
        .as_bytes()
        .split(|&byte| byte == b'&')
        .find_map(|pair| {
            let equals = pair.iter().position(|&byte| byte == b'=');
            let (key, value) = pair.split_at(equals.unwrap_or(pair.len()));
            let value = value.strip_prefix(b"=").unwrap_or(value);
            (form_decode(key) == name).then(|| form_decode(value).into())
        })
}

fn form_decode(text: &[u8]) -> Vec<u8> {
    let spaces = |byte: &u8| if *byte == b'+' { b' ' } else { *byte };
    let text: Vec<u8> = text.iter().map(spaces).collect();
    percent_decode(&text).collect()
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;

    fn last_event_id(headers: &[&[u8]], uri: &str) -> LastEventId {
        let name = HeaderName::from_static("last-event-id");
        let headers = headers
            .iter()
            .map(|value| (name.clone(), HeaderValue::from_bytes(value).unwrap()));
        LastEventId::new(&headers.collect(), &uri.parse().unwrap())
    }

    #[test]
    fn the_header_is_kept_byte_for_byte() {
        assert_eq!(last_event_id(&[b"7"], "/").as_bytes(), b"7");
        assert_eq!(last_event_id(&["é☃".as_bytes()], "/").as_str(), Some("é☃"));
        assert_eq!(last_event_id(&[b"\xe9"], "/").as_bytes(), b"\xe9");
        assert_eq!(last_event_id(&[b"\xe9"], "/").as_str(), None);
        let long = vec![b'x'; 8192];
        assert_eq!(last_event_id(&[&long], "/").as_bytes(), long);
    }

    #[test]
    fn the_header_wins_and_an_empty_one_is_none() {
        assert_eq!(last_event_id(&[b"7"], "/?lastEventId=8").as_bytes(), b"7");
        assert_eq!(last_event_id(&[b""], "/?lastEventId=8").as_bytes(), b"8");
        assert!(last_event_id(&[b""], "/?lastEventId=").is_empty());
        assert!(last_event_id(&[], "/?lasteventid=8").is_empty());
    }

    #[test]
    fn the_query_is_decoded_and_garbage_stays() {
        for (query, id) in [
            ("a=1&lastEventId=7&lastEventId=8", &b"7"[..]),
            ("lastEventId=a+b%2Bc%3D%26", b"a b+c=&"),
            ("lastEventI%64=7", b"7"),
            ("lastEventId=%C3%A9", "é".as_bytes()),
            ("lastEventId=%", b"%"),
            ("lastEventId=%4", b"%4"),
            ("lastEventId=%zz%00", b"%zz\0"),
            ("lastEventId=a=b", b"a=b"),
            ("lastEventId", b""),
            ("lastEventId&lastEventId=8", b""),
            ("&&=&", b""),
        ] {
            let last = last_event_id(&[], &format!("/?{query}"));
            assert_eq!(last.as_bytes(), id, "{query}");
        }
    }

    #[test]
    fn accept_is_read_as_the_rfc_says() {
        for (lines, accepted) in [
            (&["text/event-stream"][..], true),
            (&["TEXT/Event-Stream; charset=utf-8"], true),
            (&["text/event-stream;q=0.001"], true),
            (&["text/event-stream;q=0"], false),
            (&["text/event-stream;q=0.000"], false),
            (&["text/event-stream;q=.2"], true),
            (
                &["text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"],
                true,
            ),
            (&["text/event-stream;q=.000"], false),
            (&["text/event-stream;q=., */*"], true),
            (&["text/event-stream;q=1.0000, */*;q=0"], false),
            (&["text/event-stream; Q=1.000"], true),
            (&["text/html, */*;q=0.1"], true),
            (&["text/html", "text/event-stream"], true),
            (&["text/html", "application/json"], false),
            (&["text/*"], true),
            (&["text/*;q=0, */*"], false),
            (&["text/event-stream, text/*;q=0"], true),
            (&["text/event-stream;q=0, */*;q=1"], false),
            (&["application/json;x=\"a, text/event-stream\""], false),
            (
                &["application/json;x=\"\\\", text/event-stream\", */*"],
                true,
            ),
            (&["text/event-stream;q=2"], false),
            (&["text/event-stream;q=", "*/*"], true),
            (&["text/event-stream;q=0.0001"], false),
            (&[""], true),
            (&[" , "], true),
            (&["\u{80}garbage"], false),
            (&["\u{80}, text/event-stream"], true),
            (&[], true),
        ] {
            assert_eq!(accepts_event_stream(lines), accepted, "{lines:?}");
        }
    }
}

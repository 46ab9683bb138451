//! The naive twin of the decoder. It follows the text of the standard (9.2.5 and 9.2.6), on whole
//! streams and without regard to speed.

/// An item of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Event {
        event_type: String,
        data: String,
        id: Option<String>,
        last_event_id: String,
    },
    Comment(String),
    Retry(u64),
    /// The ID of a block without data.
    Id(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TooLong {
    Line,
    Event,
}

/// The contents of a stream. If a limit is exceeded, they end before that line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    pub items: Vec<Item>,
    pub last_event_id: String,
    pub error: Option<TooLong>,
}

/// Interprets a whole stream. The limits are in bytes. A line counts without its end, and data
/// counts without the LF that is removed.
pub fn interpret(stream: &[u8], last_event_id: &str, max_line: usize, max_event: usize) -> Outcome {
    // "Streams must be decoded using the UTF-8 decode algorithm", which strips one byte order mark.
    let text = String::from_utf8_lossy(stream);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);

    // "[...] reading everything line by line, with a U+000D CARRIAGE RETURN U+000A LINE FEED (CRLF)
    // character pair, a single U+000A LINE FEED (LF) character not preceded by a U+000D CARRIAGE
    // RETURN (CR) character, and a single U+000D CARRIAGE RETURN (CR) character not followed by a
    // U+000A LINE FEED (LF) character being the ways in which a line can end."
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (lines, unended) = text
        .rsplit_once('\n')
        .map_or((None, &*text), |(lines, unended)| (Some(lines), unended));

    let mut outcome = Outcome {
        last_event_id: last_event_id.to_owned(),
        ..Outcome::default()
    };
    let mut data = String::new();
    let mut event_type = String::new();
    let mut id_buffer = last_event_id.to_owned();
    let mut own_id = None;

    for line in lines.into_iter().flat_map(|lines| lines.split('\n')) {
        if line.len() > max_line {
            outcome.error = Some(TooLong::Line);
            return outcome;
        }
        // "If the line is empty (a blank line): Dispatch the event."
        if line.is_empty() {
            outcome.last_event_id.clone_from(&id_buffer);
            let id = own_id.take();
            if data.is_empty() {
                outcome.items.extend(id.map(Item::Id));
            } else {
                data.pop(); // "If the data buffer's last character is a LF, then remove it"
                outcome.items.push(Item::Event {
                    event_type: match &*event_type {
                        "" => "message".to_owned(),
                        other => other.to_owned(),
                    },
                    data: data.clone(),
                    id,
                    last_event_id: id_buffer.clone(),
                });
            }
            data.clear();
            event_type.clear();
            continue;
        }
        // "If the line starts with a U+003A COLON character (:): Ignore the line."
        if let Some(comment) = line.strip_prefix(':') {
            outcome.items.push(Item::Comment(comment.to_owned()));
            continue;
        }
        let (field, value) = match line.split_once(':') {
            // "If value starts with a U+0020 SPACE character, remove it from value."
            Some((field, value)) => (field, value.strip_prefix(' ').unwrap_or(value)),
            None => (line, ""),
        };
        match field {
            "event" => event_type = value.to_owned(),
            "data" => {
                data.push_str(value);
                data.push('\n');
                if data.len() - 1 > max_event {
                    outcome.error = Some(TooLong::Event);
                    return outcome;
                }
            }
            // "If the field value does not contain U+0000 NULL, then set the last event ID buffer"
            "id" if !value.contains('\0') => {
                id_buffer = value.to_owned();
                own_id = Some(value.to_owned());
            }
            // "If the field value consists of only ASCII digits"
            "retry" if !value.is_empty() && value.chars().all(|c| c.is_ascii_digit()) => {
                let millis = value.parse().unwrap_or(u64::MAX); // more digits than fit
                outcome.items.push(Item::Retry(millis));
            }
            _ => {} // "Otherwise: The field is ignored."
        }
    }
    // "Once the end of the file is reached, any pending data must be discarded."
    if unended.len() > max_line {
        outcome.error = Some(TooLong::Line);
    }
    outcome
}

//! A value as one line of JSON.

use std::io;

use bytes::BytesMut;
use memchr::memchr2;
use serde::Serialize;
use serde_json::{Serializer, ser::Formatter};

/// Appends `value` to `block`; what was written of it stays there if it fails.
pub(crate) fn write_line<T: Serialize + ?Sized>(
    block: &mut BytesMut,
    value: &T,
) -> Result<(), serde_json::Error> {
    value.serialize(&mut Serializer::with_formatter(Writer(block), OneLine))
}

/// `value` as one line of text.
pub(crate) fn to_line<T: Serialize + ?Sized>(value: &T) -> Result<String, serde_json::Error> {
    let mut line = BytesMut::with_capacity(128);
    write_line(&mut line, value)?;
    String::from_utf8(line.into()).map_err(serde::ser::Error::custom)
}

/// Compact JSON has no line end, but a `RawValue` is written as it was read: with any white
/// space. Line ends outside strings are white space, and inside strings they are escaped, so
/// dropping them changes no value.
struct OneLine;

impl Formatter for OneLine {
    fn write_raw_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // In pieces that are still in the nearest cache when they are copied.
        const PIECE: usize = 16 * 1024;
        for mut piece in fragment.as_bytes().chunks(PIECE) {
            while let Some(end) = memchr2(b'\r', b'\n', piece) {
                writer.write_all(&piece[..end])?;
                piece = &piece[end + 1..];
            }
            writer.write_all(piece)?;
        }
        Ok(())
    }
}

struct Writer<'a>(&'a mut BytesMut);

impl io::Write for Writer<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

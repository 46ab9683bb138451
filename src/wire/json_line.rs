//! A value as one line of JSON.

use std::io;

use bytes::BytesMut;
use memchr::memchr2;
use serde::Serialize;
use serde_json::{Serializer, ser::Formatter};

/// Appends `value` to `block` as one line of JSON. If it fails, the bytes written so far stay in
/// `block`.
pub(crate) fn write_line<T: Serialize + ?Sized>(
    block: &mut BytesMut,
    value: &T,
) -> Result<(), serde_json::Error> {
    value.serialize(&mut Serializer::with_formatter(Writer(block), OneLine))
}

/// Returns `value` as one line of JSON.
pub(crate) fn to_line<T: Serialize + ?Sized>(value: &T) -> Result<String, serde_json::Error> {
    let mut line = BytesMut::with_capacity(128);
    write_line(&mut line, value)?;
    String::from_utf8(line.into()).map_err(serde::ser::Error::custom)
}

/// A formatter that writes compact JSON without line ends.
///
/// Only a `RawValue` can have them, because it is written as it was read. Line ends in strings are
/// escaped. All others are white space, so that removing them changes no value.
struct OneLine;

impl Formatter for OneLine {
    fn write_raw_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // A piece is still in the L1 cache when it is copied after the search.
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

/// An `io::Write` that appends to a block and never fails.
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

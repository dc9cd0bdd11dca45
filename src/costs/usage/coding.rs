//! Compressed bodies.
//!
//! Most clients undo the compression that they have asked for, below the layers. For those that hand it up, the
//! feature `decompress` reads `gzip` and `deflate`, piece by piece.

use http::{HeaderMap, header};

use super::reader::Reader;
use crate::costs::settle::SettleBody;

/// A reader of a body that is compressed as the headers say; `None` if that cannot be undone.
pub(super) fn uncompressed(reader: Reader, headers: &HeaderMap) -> Option<Box<dyn SettleBody>> {
    let values = headers.get_all(header::CONTENT_ENCODING).into_iter();
    let names = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    let mut codings = names
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity"));
    match (codings.next(), codings.next()) {
        (None, _) => Some(Box::new(reader)),
        #[cfg(feature = "decompress")]
        (Some(coding), None) => inflate::Inflated::new(coding, reader)
            .map(|reader| Box::new(reader) as Box<dyn SettleBody>),
        _ => None,
    }
}

#[cfg(feature = "decompress")]
mod inflate {
    use std::io::{self, Write};

    use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

    use crate::costs::{cost::Cost, settle::SettleBody, usage::reader::Reader};

    /// How much text is read from a body, decompressed: a kilobyte of it can become a megabyte.
    const MOST: usize = if cfg!(test) { 1 } else { 64 } * 1024 * 1024;

    pub(super) struct Inflated(Decoder);

    enum Decoder {
        Gzip(MultiGzDecoder<Text>),
        /// In its wrapping as the standard has it, or bare as some send it. The first byte tells.
        Deflate(Text),
        Wrapped(ZlibDecoder<Text>),
        Bare(DeflateDecoder<Text>),
        /// It is not what it was said to be, or too much.
        Failed,
    }

    impl Inflated {
        pub(super) fn new(coding: &[u8], reader: Reader) -> Option<Self> {
            let is = |name: &str| coding.eq_ignore_ascii_case(name.as_bytes());
            let text = Text { reader, left: MOST };
            if is("gzip") || is("x-gzip") {
                Some(Self(Decoder::Gzip(MultiGzDecoder::new(text))))
            } else if is("deflate") {
                Some(Self(Decoder::Deflate(text)))
            } else {
                None
            }
        }
    }

    impl SettleBody for Inflated {
        fn chunk(&mut self, data: &[u8]) -> Option<Cost> {
            let &first = data.first()?;
            self.0 = std::mem::replace(&mut self.0, Decoder::Failed).after(first);
            // What was read before a failure counts.
            let written = self.0.write(data);
            let news = self.0.text().and_then(|text| text.reader.news());
            if written.is_err() {
                self.0 = Decoder::Failed;
            }
            news
        }

        fn end(&mut self) -> Option<Cost> {
            self.0.text()?.reader.end()
        }
    }

    impl Decoder {
        /// That which the first byte asks for.
        fn after(self, first: u8) -> Self {
            /// The method of compression, in the lower half of the first byte (RFC 1950). Nothing bare begins so:
            /// that would be a stored block whose padding is not 0.
            const DEFLATE: u8 = 8;
            match self {
                Self::Deflate(text) if first & 0xf == DEFLATE => {
                    Self::Wrapped(ZlibDecoder::new(text))
                }
                Self::Deflate(text) => Self::Bare(DeflateDecoder::new(text)),
                decided => decided,
            }
        }

        /// All of it at once: what stays in a decoder would be told with the next data only.
        fn write(&mut self, data: &[u8]) -> io::Result<()> {
            let decoder: &mut dyn Write = match self {
                Self::Gzip(decoder) => decoder,
                Self::Wrapped(decoder) => decoder,
                Self::Bare(decoder) => decoder,
                Self::Deflate(_) | Self::Failed => return Ok(()),
            };
            decoder.write_all(data)?;
            decoder.flush()
        }

        fn text(&mut self) -> Option<&mut Text> {
            match self {
                Self::Gzip(decoder) => Some(decoder.get_mut()),
                Self::Wrapped(decoder) => Some(decoder.get_mut()),
                Self::Bare(decoder) => Some(decoder.get_mut()),
                Self::Deflate(_) | Self::Failed => None,
            }
        }
    }

    /// Where decoders write to.
    struct Text {
        reader: Reader,
        /// How much may still come.
        left: usize,
    }

    impl Write for Text {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let left = self.left.checked_sub(data.len());
            self.left = left.ok_or(io::ErrorKind::FileTooLarge)?;
            self.reader.read(data);
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

//! Compressed bodies of refusals.
//!
//! Most clients undo the compression that they have asked for, below the layers. For those that hand it up,
//! the feature `decompress` reads `gzip` and `deflate`.

use std::borrow::Cow;

use http::{HeaderMap, header};

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    #[cfg(feature = "decompress")]
    Gzip,
    #[cfg(feature = "decompress")]
    Deflate,
    /// In a way that is not undone here, or in several.
    Other,
}

impl Coding {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut coding = Self::Identity;
        let values = headers.get_all(header::CONTENT_ENCODING).into_iter();
        let names = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
        for of_name in names.map(Self::named) {
            if of_name != Self::Identity {
                coding = if coding == Self::Identity {
                    of_name
                } else {
                    Self::Other
                };
            }
        }
        coding
    }

    fn named(name: &[u8]) -> Self {
        let is = |coding: &str| name.trim_ascii().eq_ignore_ascii_case(coding.as_bytes());
        if is("identity") || is("") {
            return Self::Identity;
        }
        #[cfg(feature = "decompress")]
        if is("gzip") || is("x-gzip") {
            return Self::Gzip;
        } else if is("deflate") {
            return Self::Deflate;
        }
        Self::Other
    }

    /// The text of a body, as far as its beginning tells it; nothing of what is not undone here.
    pub(super) fn decode(self, body: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Identity => Cow::Borrowed(body),
            #[cfg(feature = "decompress")]
            Self::Gzip => Cow::Owned(beginning(flate2::read::GzDecoder::new(body))),
            #[cfg(feature = "decompress")]
            Self::Deflate => {
                // In its wrapping as the standard has it, or bare as some send it.
                let wrapped = beginning(flate2::read::ZlibDecoder::new(body));
                Cow::Owned(if wrapped.is_empty() {
                    beginning(flate2::read::DeflateDecoder::new(body))
                } else {
                    wrapped
                })
            }
            Self::Other => Cow::Borrowed(&[]),
        }
    }
}

/// What is read until the text ends, is cut short, or becomes too long.
#[cfg(feature = "decompress")]
fn beginning(mut text: impl std::io::Read) -> Vec<u8> {
    /// Of a body of which 4 KiB are peeked.
    const MOST: usize = 16 * 1024;
    let mut read = vec![0; MOST];
    let mut len = 0;
    while len < MOST {
        match text.read(&mut read[len..]) {
            Ok(0) | Err(_) => break,
            Ok(more) => len += more,
        }
    }
    read.truncate(len);
    read
}

#[cfg(all(test, feature = "decompress"))]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write};

    use super::*;

    const TEXT: &[u8] = br#"{"message":"You have exceeded a secondary rate limit."}"#;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = write::GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_is_compressed_is_read() {
        assert_eq!(*Coding::Gzip.decode(&gzip(TEXT)), *TEXT);
        let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(TEXT).unwrap();
        assert_eq!(*Coding::Deflate.decode(&encoder.finish().unwrap()), *TEXT);
        let mut encoder = write::DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(TEXT).unwrap();
        assert_eq!(*Coding::Deflate.decode(&encoder.finish().unwrap()), *TEXT);
    }

    #[test]
    fn what_was_cut_short_is_read_as_far_as_it_goes() {
        let noise: Vec<u8> = (0..20_000_u32)
            .flat_map(|n| (n * n / 7).to_le_bytes())
            .collect();
        let compressed = gzip(&noise);
        let half = Coding::Gzip.decode(&compressed[..compressed.len() / 2]);
        assert!(!half.is_empty() && noise.starts_with(&half));
    }

    #[test]
    fn a_little_that_becomes_much_is_cut() {
        let bomb = gzip(&vec![b'x'; 10_000_000]);
        assert_eq!(Coding::Gzip.decode(&bomb).len(), 16 * 1024);
    }

    #[test]
    fn what_is_not_compressed_after_all_says_nothing() {
        for coding in [Coding::Gzip, Coding::Deflate] {
            assert!(coding.decode(b"plain text").is_empty());
            assert!(coding.decode(b"").is_empty());
        }
    }

    #[test]
    fn two_codings_are_not_undone() {
        let mut headers = HeaderMap::new();
        assert_eq!(Coding::of(&headers), Coding::Identity);
        headers.append(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        assert_eq!(Coding::of(&headers), Coding::Gzip);
        headers.append(header::CONTENT_ENCODING, "deflate".parse().unwrap());
        assert_eq!(Coding::of(&headers), Coding::Other);
    }
}

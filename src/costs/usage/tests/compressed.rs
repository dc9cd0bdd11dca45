use std::io::Write;

use flate2::{Compression, write};
use proptest::{collection::vec, prelude::*};

use super::*;

const BODY: &[u8] =
    br#"{"choices":[{"text":"Hi"}],"usage":{"prompt_tokens":19,"completion_tokens":10}}"#;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = write::GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn compressed(coding: &'static str) -> Response<()> {
    let answer = Response::builder().header(header::CONTENT_ENCODING, coding);
    answer.body(()).unwrap()
}

fn check(coding: &'static str, body: &[u8], expected: &Cost) {
    let answer = compressed(coding);
    for len in [1, 2, 10, body.len().max(1)] {
        let cost = settled(Usage::OPENAI, &answer, body.chunks(len));
        assert_eq!(cost.as_ref(), Some(expected), "{coding} in pieces of {len}");
    }
}

#[test]
fn gzip_and_deflate_are_read() {
    check("gzip", &gzip(BODY), &tokens(19, 10));
    check("X-GZIP", &gzip(BODY), &tokens(19, 10));
    let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(BODY).unwrap();
    check("deflate", &encoder.finish().unwrap(), &tokens(19, 10));
    let mut encoder = write::DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(BODY).unwrap();
    check("deflate", &encoder.finish().unwrap(), &tokens(19, 10));
}

#[test]
fn members_of_gzip_may_follow_each_other() {
    let (one, other) = BODY.split_at(40);
    let body = [gzip(one), gzip(other)].concat();
    check("gzip", &body, &tokens(19, 10));
}

/// A server flushes its compression after each event.
#[test]
fn an_event_is_told_as_soon_as_it_has_come() {
    let mut encoder = write::GzEncoder::new(Vec::new(), Compression::default());
    let answer = compressed("gzip");
    let mut body = Usage::OPENAI.body(&(&answer).into()).unwrap();
    for n in 1..4 {
        let usage = format!("\"prompt_tokens\":{n},\"completion_tokens\":{n}");
        write!(encoder, "data: {{\"usage\":{{{usage}}}}}\n\n").unwrap();
        encoder.flush().unwrap();
        let piece = std::mem::take(encoder.get_mut());
        assert_eq!(body.chunk(&piece), Some(tokens(n, n)));
    }
}

#[test]
fn what_is_not_compressed_after_all_says_nothing() {
    for coding in ["gzip", "deflate"] {
        check(coding, BODY, &Cost::new());
        check(coding, b"", &Cost::new());
    }
}

/// In tests a megabyte is much.
#[test]
fn a_little_that_becomes_much_is_given_up() {
    let end = br#"","usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let body = |len: usize| {
        let text = [br#"{"text":""#, b"x".repeat(len).as_slice(), end].concat();
        gzip(&text)
    };
    let answer = compressed("gzip");
    let small = body(1_000_000);
    let cost = settled(Usage::OPENAI, &answer, [small.as_slice()]);
    assert_eq!(cost, Some(tokens(1, 2)));
    let bomb = body(2_000_000);
    let cost = settled(Usage::OPENAI, &answer, bomb.chunks(1_000));
    assert_eq!(cost, Some(Cost::new()));
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn damaged_compression_does_no_harm(
        at in 0..200_usize,
        bytes in vec(any::<u8>(), 0..40),
        len in 1..50_usize,
    ) {
        let whole = gzip(BODY);
        let mut damaged = whole.clone();
        let at = at % whole.len();
        let end = whole.len().min(at + bytes.len());
        damaged.splice(at..end, bytes.iter().copied());
        for coding in ["gzip", "deflate"] {
            for body in [&damaged, &bytes, &damaged[2..].to_vec()] {
                settled(Usage::OPENAI, &compressed(coding), body.chunks(len));
            }
        }
    }
}

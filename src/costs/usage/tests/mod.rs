#[cfg(feature = "decompress")]
mod compressed;
mod heads;
mod laws;
mod transcripts;

use http::{Response, header};

use super::*;

/// What a reader of a body makes of these pieces; `None` if there is no reader.
fn settled<'a>(
    usage: Usage,
    answer: &Response<()>,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Option<Cost> {
    let mut body = usage.body(&answer.into())?;
    let mut cost = Cost::new();
    for piece in pieces {
        cost = cost.replaced_by(&body.chunk(piece).unwrap_or_default());
    }
    Some(cost.replaced_by(&body.end().unwrap_or_default()))
}

fn answer(content_type: &str) -> Response<()> {
    let answer = Response::builder().header(header::CONTENT_TYPE, content_type);
    answer.body(()).expect("the type is a header's value")
}

/// Of an answer that comes in one piece and in small ones.
fn read(usage: Usage, content_type: &str, body: &str) -> Cost {
    let (answer, body) = (answer(content_type), body.as_bytes());
    let whole = settled(usage, &answer, [body]).expect("there is a reader");
    for len in [1, 2, 3, 7, 100] {
        let pieces = settled(usage, &answer, body.chunks(len));
        assert_eq!(pieces.as_ref(), Some(&whole), "in pieces of {len}");
    }
    whole
}

fn tokens(input: u64, output: u64) -> Cost {
    input_only(input)
        .of(Unit::OUTPUT_TOKENS, output)
        .of(Unit::TOKENS, input + output)
}

fn input_only(input: u64) -> Cost {
    Cost::new().of(Unit::INPUT_TOKENS, input)
}

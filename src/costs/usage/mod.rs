//! What language models and ElevenLabs say a request has cost.
//!
//! A body passes in pieces, and no piece is kept. [`events`] takes the data out of an event stream; they are JSON, as a
//! plain answer is. A [scanner](super::json) walks through the JSON and tells [`figures`] of the objects that lead to
//! the usage. Each API has a table in [`vendors`] of where its usage stands, and of what the members mean.

mod coding;
mod events;
mod figures;
mod reader;
#[cfg(test)]
mod tests;
mod vendors;

use http::{HeaderMap, header};

use self::{reader::Reader, vendors::Vendor};
use super::{
    cost::Cost,
    settle::{AnswerHead, Settle, SettleBody},
    unit::Unit,
};

/// Reads from the answers of well-known APIs what their requests have cost.
///
/// Give one to a limiting layer with `settle_by`. For a language model it settles [`Unit::INPUT_TOKENS`],
/// [`Unit::OUTPUT_TOKENS`] and [`Unit::TOKENS`], which is the sum. An endpoint counts those that it has windows for.
///
/// - It reads plain JSON and event streams. Only the documented places count: a `"usage"` in the text of a model, in
///   the arguments of a tool or in metadata is skipped.
/// - It neither holds back nor keeps anything of a body. The usage may stand before or after megabytes of text.
/// - It ignores a figure that is not a whole number from 0 to 2⁵³.
/// - A later figure replaces an earlier one. If an answer says nothing, or breaks off before it does, the estimate
///   stays.
/// - It reads nothing of a compressed body, unless the feature `decompress` is on and the body is in `gzip` or
///   `deflate`; then it reads the first 64 MiB of text. Most clients decompress below the layers, and need no feature.
///
/// ```
/// use http::Response;
/// use tower_throttle::{Cost, Settle, SettleBody, Unit, Usage};
///
/// let answer = Response::builder()
///     .header("content-type", "text/event-stream")
///     .body(())?;
/// let mut body = Usage::OPENAI.body(&(&answer).into()).expect("events say more");
/// body.chunk(b"data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}],\"usage\":null}\n\n");
/// let cost = body.chunk(b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1}}\n\n");
/// let expected = Cost::new()
///     .of(Unit::INPUT_TOKENS, 9)
///     .of(Unit::OUTPUT_TOKENS, 1)
///     .of(Unit::TOKENS, 10);
/// assert_eq!(cost, Some(expected));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage(Api);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Api {
    OpenAi,
    Anthropic,
    Gemini,
    ElevenLabs,
}

impl Usage {
    /// OpenAI: chat completions, the Responses API, completions, embeddings, and whatever else has `usage` in its
    /// outermost object, or in the `response` of an event. Many other servers speak like it.
    ///
    /// A stream of chat completions tells its usage only if the request had `"stream_options": {"include_usage":
    /// true}`; without that the estimate stays. Cached tokens count: OpenAI's rate limits count them, too.
    pub const OPENAI: Self = Self(Api::OpenAi);

    /// Anthropic: messages.
    ///
    /// Input is `input_tokens` plus `cache_creation_input_tokens`. Tokens that are read from the cache are left out,
    /// since they count towards no rate limit ([Anthropic's documentation][limits], "Cache-aware ITPM"). Claude Haiku
    /// 3.5 is the exception: settle its requests by hand.
    ///
    /// A stream tells the input at its beginning, and the output shortly before its end.
    ///
    /// [limits]: https://platform.claude.com/docs/en/api/rate-limits
    pub const ANTHROPIC: Self = Self(Api::Anthropic);

    /// Gemini: `generateContent` and `streamGenerateContent`, with `alt=sse` or without; Vertex AI answers alike.
    ///
    /// Input is the prompt, cached or not, plus the prompts of tools. Output is the candidates plus the thoughts.
    ///
    /// Each part of a stream tells the output so far. The last one counts, and is known when the body has been read to
    /// its end.
    pub const GEMINI: Self = Self(Api::Gemini);

    /// ElevenLabs: [`Unit::CREDITS`] from the header `character-cost`, of which each answer that makes audio has one.
    pub const ELEVENLABS: Self = Self(Api::ElevenLabs);

    fn vendor(self) -> Option<&'static Vendor> {
        match self.0 {
            Api::OpenAi => Some(&vendors::OPENAI),
            Api::Anthropic => Some(&vendors::ANTHROPIC),
            Api::Gemini => Some(&vendors::GEMINI),
            Api::ElevenLabs => None,
        }
    }
}

impl Settle for Usage {
    fn head(&self, head: &AnswerHead<'_>) -> Option<Cost> {
        if self.0 != Api::ElevenLabs {
            return None;
        }
        let credits = head.headers().get("character-cost")?.to_str().ok()?;
        // Digits only: `parse` would take a sign.
        let is_whole = credits.bytes().all(|byte| byte.is_ascii_digit());
        let credits = is_whole.then(|| credits.parse().ok()).flatten()?;
        Some(Cost::new().of(Unit::CREDITS, credits))
    }

    fn body(&self, head: &AnswerHead<'_>) -> Option<Box<dyn SettleBody>> {
        let vendor = self.vendor()?;
        if !head.status().is_success() || !may_be_text(head.headers()) {
            return None;
        }
        coding::uncompressed(Reader::new(vendor), head.headers())
    }
}

/// Whether the content type names text of any kind, or is left out. Audio, images and files say no usage.
fn may_be_text(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let mut parts = kind.as_bytes().windows(5);
    let is_text = parts
        .next()
        .is_some_and(|start| start.eq_ignore_ascii_case(b"text/"));
    is_text || parts.any(|part| part[1..].eq_ignore_ascii_case(b"json"))
}

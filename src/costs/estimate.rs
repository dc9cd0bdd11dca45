use super::{
    cost::Cost,
    json::{Root, Scanner, Visit},
    unit::Unit,
};
use crate::request_head::RequestHead;

/// How many bytes of a request are taken for one token.
const BYTES_PER_TOKEN: usize = 4;

/// Estimates from the body what a chat request to a language model costs. For `cost_by`.
///
/// - [`Unit::INPUT_TOKENS`]: a quarter of the body's bytes, rounded up.
/// - [`Unit::OUTPUT_TOKENS`]: the maximum that the request states, times the answers that it asks for. That is
///   `max_tokens`, `max_completion_tokens` or `max_output_tokens`, times `n` or `best_of`; for Gemini it is
///   `maxOutputTokens` times `candidateCount`, both in `generationConfig`. The greatest counts if there are several.
/// - [`Unit::TOKENS`]: the sum.
///
/// If the request states no maximum, neither the output nor the sum is stated. The request then takes of them what
/// requests at its endpoint took on average. `None`, so nothing is stated, if the body is not in memory, or is not a
/// JSON object; a compressed one is not.
///
/// # How good it is
///
/// It is meant to be an upper bound, which the answer settles to less. Most tokenizers put four bytes or more of
/// English into a token, and the names and brackets of the body come on top. It can be too low for
///
/// - text in other scripts: a letter of Chinese, Japanese or Korean has three bytes, and may take more than a token;
/// - program text, long numbers, and tokenizers with smaller tokens: up to a third more;
/// - input that the body does not hold: earlier turns that the server remembers (`previous_response_id`), files and
///   images by address, instructions for tools that the server adds.
///
/// It is far too high for images, audio and files in base64: a megabyte of them counts as 262 144 tokens, where an
/// image takes about 1 500. With an estimate above a whole window the request is refused
/// ([`NeverFits`](crate::RefusedReason::NeverFits)). State the cost of such requests in their [`Terms`](crate::Terms),
/// which go first. If you have a tokenizer, call that in `cost_by` instead.
///
/// The maximum is an upper bound, too. Some servers count it until the answer has ended, and others count only what the
/// model has made. With the latter, a maximum close to the usual length lets more requests go at once.
///
/// ```
/// use http::Request;
/// use tower_throttle::{Unit, estimate_chat};
///
/// let body = r#"{"model":"m","max_tokens":500,"messages":[{"role":"user","content":"Why is the sky blue?"}]}"#;
/// let request = Request::post("https://api.example/v1/chat/completions").body(())?;
/// let cost = estimate_chat(&(&request).into(), Some(body.as_bytes())).expect("it is an object");
/// assert_eq!(cost.get(Unit::INPUT_TOKENS), Some(23));
/// assert_eq!(cost.get(Unit::OUTPUT_TOKENS), Some(500));
/// assert_eq!(cost.get(Unit::TOKENS), Some(523));
/// # Ok::<(), http::Error>(())
/// ```
pub fn estimate_chat(head: &RequestHead<'_>, body: Option<&[u8]>) -> Option<Cost> {
    // The names in the body tell the APIs apart.
    let _ = head;
    let body = body?;
    let asked = Asked::of(body)?;
    let input = body.len().div_ceil(BYTES_PER_TOKEN) as u64;
    let cost = Cost::new().of(Unit::INPUT_TOKENS, input);
    let Some(most) = asked.most else {
        return Some(cost);
    };
    let output = most.saturating_mul(asked.answers.max(1));
    let cost = cost.of(Unit::OUTPUT_TOKENS, output);
    Some(cost.of(Unit::TOKENS, input.saturating_add(output)))
}

/// What a request asks for.
#[derive(Default)]
struct Asked {
    /// How long an answer may be.
    most: Option<u64>,
    answers: u64,
    is_in_config: bool,
}

impl Asked {
    /// `None` if the body is not an object.
    fn of(body: &[u8]) -> Option<Self> {
        let is_object = body.trim_ascii_start().first() == Some(&b'{');
        let mut asked = Self::default();
        let mut scanner = Scanner::new(Root::Object);
        if is_object {
            scanner.scan(body, &mut asked);
        }
        (is_object && scanner.is_between_texts()).then_some(asked)
    }
}

impl Visit for Asked {
    fn enter(&mut self, name: &[u8]) -> bool {
        let is_config = matches!(name, b"generationConfig" | b"generation_config");
        let is_entered = is_config && !self.is_in_config;
        self.is_in_config |= is_entered;
        is_entered
    }

    fn number(&mut self, name: &[u8], n: u64) {
        match (self.is_in_config, name) {
            (false, b"max_tokens" | b"max_completion_tokens" | b"max_output_tokens")
            | (true, b"maxOutputTokens" | b"max_output_tokens") => {
                self.most = self.most.max(Some(n));
            }
            (false, b"n" | b"best_of") | (true, b"candidateCount" | b"candidate_count") => {
                self.answers = self.answers.max(n);
            }
            _ => {}
        }
    }

    fn leave(&mut self) {
        self.is_in_config = false;
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn estimate(body: &str) -> Option<Cost> {
        let request = Request::new(());
        estimate_chat(&(&request).into(), Some(body.as_bytes()))
    }

    fn output(body: &str) -> Option<u64> {
        let cost = estimate(body).expect("it is an object");
        let (input, output) = (cost.get(Unit::INPUT_TOKENS), cost.get(Unit::OUTPUT_TOKENS));
        let sum = input.zip(output).map(|(input, output)| input + output);
        assert_eq!(cost.get(Unit::TOKENS), sum);
        assert_eq!(input, Some(body.len().div_ceil(4) as u64));
        output
    }

    #[test]
    fn the_maximum_is_read_in_every_dialect() {
        for (body, expected) in [
            (r#"{"max_tokens":100,"messages":[]}"#, Some(100)),
            (
                r#"{"messages":[],"max_completion_tokens":7,"n":3}"#,
                Some(21),
            ),
            (r#"{"max_output_tokens":5,"input":"hi"}"#, Some(5)),
            (
                r#"{"prompt":"hi","max_tokens":5,"n":1,"best_of":4}"#,
                Some(20),
            ),
            (r#"{"n":0,"max_tokens":5}"#, Some(5)),
            (r#"{"max_tokens":5,"max_completion_tokens":6}"#, Some(6)),
            (
                r#"{"contents":[],"generationConfig":{"maxOutputTokens":8,"candidateCount":2}}"#,
                Some(16),
            ),
            (
                r#"{"generation_config":{"max_output_tokens":9,"x":{"maxOutputTokens":10}}}"#,
                Some(9),
            ),
            (" {\n\"max_tokens\" : 5\n} ", Some(5)),
        ] {
            assert_eq!(output(body), expected, "{body}");
        }
    }

    #[test]
    fn a_maximum_that_stands_elsewhere_is_none() {
        for body in [
            "{}",
            r#"{"messages":[{"role":"user","content":"\"max_tokens\":5"}]}"#,
            r#"{"messages":[{"max_tokens":5}],"metadata":{"max_tokens":5},"n":2}"#,
            r#"{"max_tokens":null,"thinking":{"budget_tokens":5}}"#,
            r#"{"max_tokens":-1}"#,
            r#"{"max_tokens":1.5}"#,
            r#"{"maxOutputTokens":5,"generationConfig":[{"maxOutputTokens":5}]}"#,
            r#"{"generationConfig":{"max_tokens":5,"generationConfig":{"maxOutputTokens":5}}}"#,
        ] {
            assert_eq!(output(body), None, "{body}");
        }
    }

    #[test]
    fn what_is_no_object_is_not_estimated() {
        for body in [
            "",
            " ",
            "[]",
            "[{}]",
            "null",
            "prompt=hi",
            "{",
            "{\"a\":\"b",
            "{}x",
        ] {
            assert_eq!(estimate(body), None, "{body}");
        }
        let request = Request::new(());
        assert_eq!(estimate_chat(&(&request).into(), None), None);
    }

    #[test]
    fn absurd_maxima_do_not_overflow() {
        let body = r#"{"max_tokens":9007199254740992,"n":9007199254740992}"#;
        let cost = estimate(body).expect("it is an object");
        assert_eq!(cost.get(Unit::TOKENS), Some(u64::MAX));
    }

    /// Of an English text, tokens counted by hand as words and marks, which is what tokenizers make of common words.
    #[test]
    fn it_is_an_upper_bound_for_english() {
        let text = "The tide turned before dawn, and the fishermen who had slept on the beach woke to the sound of \
                    water under their boats. Nobody spoke for a while. Then the oldest of them laughed, and said that \
                    in forty years he had never once been late.";
        let tokens = text.split_ascii_whitespace().count() + text.matches([',', '.']).count();
        let body = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#);
        let cost = estimate(&body).expect("it is an object");
        assert!(cost.get(Unit::INPUT_TOKENS) >= Some(tokens as u64));
        assert!(cost.get(Unit::INPUT_TOKENS) >= Some(text.len().div_ceil(4) as u64));
    }
}

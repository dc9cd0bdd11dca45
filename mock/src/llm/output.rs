//! What the mock says, and how much: the same to the same request.

use super::chat::Chat;

/// How many tokens come out at most where a request does not say.
const UNASKED: u64 = 256;

/// Each is a token: four bytes, so that what was said costs as much when it goes in again.
const WORDS: [&str; 16] = [
    "the ", "sun ", "and ", "sea ", "are ", "old ", "but ", "not ", "one ", "day ", "has ", "yet ",
    "its ", "own ", "way ", "out ",
];

pub(super) type Rule = Box<dyn Fn(&Chat) -> u64 + Send + Sync>;

pub(super) struct Output {
    pub(super) rule: Option<Rule>,
    pub(super) seed: u64,
}

impl Output {
    /// How many tokens come out.
    pub(super) fn tokens(&self, chat: &Chat, body: &[u8]) -> u64 {
        if let Some(rule) = &self.rule {
            return rule(chat).clamp(1, chat.max_tokens().unwrap_or(u64::MAX));
        }
        let most = chat.max_tokens().unwrap_or(UNASKED);
        self.rng("length", body).u64(1..=most)
    }

    pub(super) fn words(&self, body: &[u8], tokens: u64) -> Vec<&'static str> {
        let mut rng = self.rng("words", body);
        (0..tokens)
            .map(|_| WORDS[rng.usize(..WORDS.len())])
            .collect()
    }

    /// FNV-1a over all that a draw may depend on.
    fn rng(&self, what: &str, body: &[u8]) -> fastrand::Rng {
        let mut hash = self.seed ^ 0xcbf2_9ce4_8422_2325;
        for byte in what.bytes().chain(body.iter().copied()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        fastrand::Rng::with_seed(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::api::Api;

    fn body(text: &str, max_tokens: u64) -> String {
        format!(
            r#"{{"model":"m","max_tokens":{max_tokens},"messages":[{{"role":"user","content":"{text}"}}]}}"#
        )
    }

    fn tokens(output: &Output, body: &str) -> u64 {
        let chat = Chat::read(Api::Anthropic, body.as_bytes()).unwrap();
        output.tokens(&chat, body.as_bytes())
    }

    #[test]
    fn lengths_are_within_what_was_asked_for_and_repeat() {
        let output = Output {
            rule: None,
            seed: 7,
        };
        let drawn: Vec<_> = (0..100)
            .map(|at| tokens(&output, &body(&at.to_string(), 5)))
            .collect();
        for expected in 1..=5 {
            assert!(drawn.contains(&expected), "{expected} is in {drawn:?}");
        }
        assert_eq!(drawn.iter().max(), Some(&5));
        let again: Vec<_> = (0..100)
            .map(|at| tokens(&output, &body(&at.to_string(), 5)))
            .collect();
        assert_eq!(drawn, again);
    }

    #[test]
    fn a_rule_of_ones_own_is_held_to_what_was_asked_for() {
        let rule = |n| Output {
            rule: Some(Box::new(move |_: &Chat| n)),
            seed: 0,
        };
        assert_eq!(tokens(&rule(0), &body("Hello", 5)), 1);
        assert_eq!(tokens(&rule(3), &body("Hello", 5)), 3);
        assert_eq!(tokens(&rule(9), &body("Hello", 5)), 5);
    }

    #[test]
    fn each_word_is_a_token() {
        let output = Output {
            rule: None,
            seed: 7,
        };
        assert_eq!(output.words(b"any", 9).concat().len(), 36);
    }
}

//! What is counted, besides requests.

/// The unit of input and output tokens together.
pub const TOKENS: &str = "tokens";

/// The unit of tokens that go in.
pub const INPUT_TOKENS: &str = "input_tokens";

/// The unit of tokens that come out.
pub const OUTPUT_TOKENS: &str = "output_tokens";

/// What a request costs, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// What goes in.
    pub input_tokens: u64,
    /// What comes out.
    pub output_tokens: u64,
}

impl Usage {
    /// Both together.
    pub fn total(self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

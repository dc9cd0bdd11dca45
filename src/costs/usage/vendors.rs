//! Where each API says what a request has cost.

/// What a number in an object of usage means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    Input,
    /// Comes on top of [`Input`](Self::Input).
    MoreInput,
    Output,
    /// Comes on top of [`Output`](Self::Output).
    MoreOutput,
    Total,
}

impl Figure {
    /// In the order of their discriminants.
    pub(super) const ALL: [Self; 5] = [
        Self::Input,
        Self::MoreInput,
        Self::Output,
        Self::MoreOutput,
        Self::Total,
    ];
}

/// How final the figures at a place are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// They are the last ones, or replace all earlier ones.
    Final,
    /// The server wrote them before the answer. The output is not known yet.
    Beginning,
    /// The output is what there is so far. Only the body's end tells which figures were the last.
    SoFar,
}

/// An object of usage.
#[derive(Debug)]
pub(super) struct Place {
    /// The names of the members that lead to it.
    pub(super) path: &'static [&'static str],
    pub(super) standing: Standing,
}

/// How an API says what a request has cost.
#[derive(Debug)]
pub(super) struct Vendor {
    /// The members of an object of usage that count. Of two that mean the same, the greater counts: some servers
    /// send both, and one of them is always 0.
    pub(super) figures: &'static [(&'static str, Figure)],
    /// Where usage stands in an answer that is one object.
    pub(super) in_document: &'static [Place],
    /// Where it stands in each event of a stream.
    pub(super) in_event: &'static [Place],
    /// Where it stands in each element of an array. Empty: the API sends none.
    pub(super) in_element: &'static [Place],
}

const fn place(path: &'static [&'static str], standing: Standing) -> Place {
    Place { path, standing }
}

/// Chat completions, completions and embeddings say `prompt_tokens`; the Responses API, images and transcriptions
/// `input_tokens`. Cached tokens are part of both, and of the rate limit ("caching does not affect rate limits").
/// A stream of chat completions has `"usage": null` until its last chunk, and a number there only where the request
/// had `stream_options.include_usage`. The events `response.completed` and `response.incomplete` hold the whole
/// response.
pub(super) const OPENAI: Vendor = Vendor {
    figures: &[
        ("prompt_tokens", Figure::Input),
        ("input_tokens", Figure::Input),
        ("completion_tokens", Figure::Output),
        ("output_tokens", Figure::Output),
        ("total_tokens", Figure::Total),
    ],
    in_document: &[place(&["usage"], Standing::Final)],
    in_event: &[
        place(&["usage"], Standing::Final),
        place(&["response", "usage"], Standing::Final),
    ],
    in_element: &[],
};

/// What counts as input: <https://platform.claude.com/docs/en/api/rate-limits>, "Cache-aware ITPM". What is read from
/// the cache does not, but with Claude Haiku 3.5.
///
/// `message_start` tells the input. The figures of `message_delta` are cumulative.
pub(super) const ANTHROPIC: Vendor = Vendor {
    figures: &[
        ("input_tokens", Figure::Input),
        ("cache_creation_input_tokens", Figure::MoreInput),
        ("output_tokens", Figure::Output),
    ],
    in_document: &[place(&["usage"], Standing::Final)],
    in_event: &[
        place(&["message", "usage"], Standing::Beginning),
        place(&["usage"], Standing::Final),
    ],
    in_element: &[],
};

/// The total is that of the prompt, the candidates, the prompts of tools and the thoughts; the cached part of the
/// prompt is in `promptTokenCount`. What is 0 is left out. Each part of a stream tells the usage so far.
pub(super) const GEMINI: Vendor = Vendor {
    figures: &[
        ("promptTokenCount", Figure::Input),
        ("toolUsePromptTokenCount", Figure::MoreInput),
        ("candidatesTokenCount", Figure::Output),
        ("thoughtsTokenCount", Figure::MoreOutput),
        ("totalTokenCount", Figure::Total),
    ],
    in_document: &[place(&["usageMetadata"], Standing::Final)],
    in_event: &[place(&["usageMetadata"], Standing::SoFar)],
    in_element: &[place(&["usageMetadata"], Standing::SoFar)],
};

//! [`Profile`]: whose API it is.

/// Whose API it is, for what looking at an answer cannot tell.
///
/// Every profile understands what [`Standard`](Self::Standard) does; see the [dialects](crate::signal#dialects).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// Standards, and what can be told apart by looking. The default.
    #[default]
    Standard,
    /// Anthropic: headers of its own, whose resets are when a bucket is full again; and a 400 may say that there are
    /// no credits.
    Anthropic,
    /// OpenAI, Azure OpenAI and the like: resets are when a bucket is full again.
    OpenAi,
    /// GitHub: 403 may be a rate limit, and the quota is one for everything.
    GitHub,
    /// Discord: the scope in headers, the delay in the body.
    Discord,
    /// Riot Games: headers of its own for the application and the method.
    Riot,
    /// Shopify (REST): a header of its own that counts upwards.
    Shopify,
    /// Google's APIs, Gemini and Vertex AI too: 403 may be a rate limit, and the reason is in the body.
    Google,
    /// Amazon Web Services: 400 may be throttling, and the name of the error tells.
    Aws,
    /// gRPC: every answer is a 200, and `grpc-status` tells; the details of an error may name the delay.
    Grpc,
    /// Stripe: a header tells which limit it was, and a 429 may be about a locked object.
    Stripe,
    /// Salesforce: 403 may be a limit, and the body tells which.
    Salesforce,
}

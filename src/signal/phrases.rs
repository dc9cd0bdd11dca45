//! The phrases and words that are looked for in [sentences](super::words).

/// The phrases behind which a delay is named.
pub(super) const BEFORE_A_SPAN: [&str; 27] = [
    "retry ~ after",
    "retry ~ in",
    "retrying in",
    "again ~ in",
    "again ~ after",
    "try after",
    "request ~ in",
    "only request ~ after",
    "available in",
    "available after",
    "reset in",
    "reset after",
    "resets in",
    "resets after",
    "replenished in",
    "wait for",
    "wait of",
    "wait",
    "back off for",
    "break for",
    "limited for",
    "blocked for",
    "throttled for",
    "banned for",
    "retry delay",
    // Of an answer that a proxy put into its own message.
    "retryAfter",
    "retryDelay",
];

/// What may be named between a phrase's words.
pub(super) const REQUESTS: [&str; 11] = [
    "your",
    "the",
    "this",
    "a",
    "request",
    "requests",
    "call",
    "operation",
    "later",
    "allowed",
    "seconds",
];

/// The phrases behind which a time is named.
pub(super) const BEFORE_A_TIME: [&str; 9] = [
    "retry after",
    "retry at",
    "again at",
    "again after",
    "reset at",
    "resets at",
    "reset on",
    "resets on",
    "until",
];

/// Words that change nothing about the number behind them.
pub(super) const FILLERS: [&str; 8] = [
    "about",
    "approximately",
    "around",
    "another",
    "at",
    "least",
    "the",
    "next",
];

/// Words for several requests at the same time, besides those that [`Word`](super::word::Word) knows.
pub(super) const AT_ONCE: [&str; 17] = [
    "in parallel",
    "parallel request",
    "parallel requests",
    "max parallelism",
    "requests in flight",
    "inflight requests",
    "in flight requests",
    "requests in progress",
    "in progress requests",
    "already in progress",
    "active requests",
    "pending requests",
    "open connections",
    "running jobs",
    "at the same time",
    "requests at once",
    "too many connections",
];

pub(super) const LIMITS: [&str; 9] = [
    "limit", "limits", "limited", "maximum", "max", "most", "allowed", "allows", "cap",
];

/// What may stand between a limit and its number.
pub(super) const LINKS: [&str; 12] = [
    "is",
    "of",
    "to",
    "the",
    "your",
    "reached",
    "exceeded",
    "at",
    "are",
    "requests",
    "concurrent",
    "concurrency",
];

/// What a refusal says of a limit that was exceeded.
pub(super) const TOO_MUCH: [&str; 6] = [
    "exceed", "exceeds", "exceeded", "reached", "limit", "limits",
];

/// Phrases of a refusal that is one of rate.
pub(super) const RATES: [&str; 9] = [
    "rate limit",
    "rate limited",
    "per second",
    "per sec",
    "per minute",
    "per min",
    "per hour",
    "rpm",
    "rps",
];

pub(super) const LONG: [&str; 3] = ["daily", "weekly", "monthly"];
pub(super) const QUOTAS: [&str; 9] = [
    "limit",
    "limits",
    "quota",
    "cap",
    "allowance",
    "allocation",
    "credits",
    "requests",
    "count",
];

pub(super) const EXHAUSTED: [&str; 9] = [
    "exceed",
    "exceeded",
    "exceeds",
    "reached",
    "exhausted",
    "hit",
    "over",
    "depleted",
    "consumed",
];

/// What is bought, and is used up for longer than anybody waits.
pub(super) const USAGE: [&str; 7] = [
    "usage limit",
    "usage limits",
    "plan limit",
    "billing limit",
    "spending limit",
    "spend limit",
    "credit limit",
];

/// What a day has.
pub(super) const TOO_MANY: [&str; 3] = [
    "too many tokens per day",
    "too many requests per day",
    "too many calls per day",
];

pub(super) const CREDITS: [&str; 28] = [
    "credit balance is too low",
    "out of credits",
    "insufficient credit",
    "insufficient credits",
    "insufficient balance",
    "insufficient account balance",
    "balance is insufficient",
    "account balance is negative",
    "not enough balance",
    "not enough credits",
    "not have enough credits",
    "t have enough credits",
    "maximum credits exceeded",
    "no credits left",
    "no credits remaining",
    "0 credits left",
    "0 credits remaining",
    "credits exhausted",
    "credits are exhausted",
    "credits have been consumed",
    "credits have been used up",
    "credits used up",
    "quota exhausted",
    "quota has been exhausted",
    "quota has been used up",
    "out of quota",
    "free trial has ended",
    "subscription expired",
];

pub(super) const TOKENS: [&str; 12] = [
    "tokens per",
    "token limit",
    "token rate limit",
    "token quota",
    "token count",
    "input tokens",
    "output tokens",
    "too many tokens",
    "TPM",
    "TPD",
    "ITPM",
    "OTPM",
];

//! The dialects, and which of them each profile understands.
//!
//! A new one is a file with its `const`, a place in these lists, and answers in the corpus (`tests/corpus`), of
//! which `.ci/dialects` makes the table in the documentation.

mod anthropic;
mod aws;
mod cdn;
pub(super) mod concurrency;
mod credits;
pub(super) mod delay_in_body;
mod discord;
pub(super) mod elevenlabs;
mod github;
mod google;
mod grpc;
mod hubspot;
mod openai;
mod ratelimit;
mod riot;
mod salesforce;
mod shopify;
mod statuses;
mod stripe;
mod x_ratelimit;
mod xero;

use self::{
    anthropic::ANTHROPIC, aws::AWS, cdn::CDN, concurrency::CONCURRENCY, credits::CREDITS,
    delay_in_body::DELAY_IN_BODY, discord::DISCORD, elevenlabs::ELEVENLABS, github::GITHUB,
    google::GOOGLE, grpc::GRPC, hubspot::HUBSPOT, openai::OPENAI, ratelimit::RATELIMIT_FIELD,
    riot::RIOT, salesforce::SALESFORCE, shopify::SHOPIFY, statuses::OTHER_STATUSES, stripe::STRIPE,
    x_ratelimit::SEPARATE_HEADERS, xero::XERO,
};
use http::HeaderName;

use super::{dialect::Dialect, known::Known, profile::Profile};

/// The dialects of a profile, those first that are asked first.
pub(super) struct Dialects {
    all: &'static [&'static [Dialect]],
    known: Known,
}

/// What every profile understands.
const STANDARD: &[Dialect] = &[
    ELEVENLABS,
    HUBSPOT,
    XERO,
    CREDITS,
    CONCURRENCY,
    CDN,
    DELAY_IN_BODY,
    OTHER_STATUSES,
    RATELIMIT_FIELD,
    SEPARATE_HEADERS,
];

impl Dialects {
    pub(super) fn of(profile: Profile) -> &'static Self {
        match profile {
            Profile::Standard => const { &Self::new(&[STANDARD]) },
            Profile::Anthropic => const { &Self::new(&[&[ANTHROPIC], STANDARD]) },
            Profile::OpenAi => const { &Self::new(&[&[OPENAI], STANDARD]) },
            Profile::GitHub => const { &Self::new(&[&[GITHUB], STANDARD]) },
            Profile::Discord => const { &Self::new(&[&[DISCORD], STANDARD]) },
            Profile::Riot => const { &Self::new(&[&[RIOT], STANDARD]) },
            Profile::Shopify => const { &Self::new(&[&[SHOPIFY], STANDARD]) },
            Profile::Google => const { &Self::new(&[&[GOOGLE], STANDARD]) },
            Profile::Aws => const { &Self::new(&[&[AWS], STANDARD]) },
            Profile::Grpc => const { &Self::new(&[&[GRPC], STANDARD]) },
            Profile::Stripe => const { &Self::new(&[&[STRIPE], STANDARD]) },
            Profile::Salesforce => const { &Self::new(&[&[SALESFORCE], STANDARD]) },
        }
    }

    const fn new(all: &'static [&'static [Dialect]]) -> Self {
        let mut known = Known::NONE;
        let mut list = 0;
        while list < all.len() {
            let mut dialect = 0;
            while dialect < all[list].len() {
                known = known.and(all[list][dialect].headers);
                dialect += 1;
            }
            list += 1;
        }
        Self { all, known }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'static Dialect> {
        self.all.iter().copied().flatten()
    }

    /// Whether a header of this name may be one of theirs.
    #[inline]
    pub(super) fn may_know(&self, name: &HeaderName) -> bool {
        self.known.may_match(name)
    }
}

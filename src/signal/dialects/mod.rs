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
    /// Those that tell a quota by headers, a bit each in their order.
    readers: u32,
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
        assert!(all.len() <= 2, "`get` looks into two lists");
        let (mut known, mut readers, mut bit) = (Known::NONE, 0, 1);
        let mut list = 0;
        while list < all.len() {
            let mut dialect = 0;
            while dialect < all[list].len() {
                let headers = all[list][dialect].headers;
                known = known.and(headers);
                if !headers.is_empty() {
                    readers |= bit;
                }
                bit <<= 1;
                dialect += 1;
            }
            list += 1;
        }
        Self {
            all,
            known,
            readers,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'static Dialect> {
        self.all.iter().copied().flatten()
    }

    /// Which of them a header of this name tells, besides those that have been `seen`.
    pub(super) fn told_by(&self, name: &str, seen: u32) -> u32 {
        let mut told = 0;
        let mut left = self.readers & !seen;
        while left != 0 {
            let at = left.trailing_zeros();
            left &= left - 1;
            let is_told = self.get(at as usize).is_some_and(|of| of.has_header(name));
            told |= u32::from(is_told) << at;
        }
        told
    }

    fn get(&self, at: usize) -> Option<&'static Dialect> {
        let (first, others) = self.all.split_first()?;
        let of_others = || others.first()?.get(at - first.len());
        first.get(at).or_else(of_others)
    }

    /// Whether a header of this name may be one of theirs.
    #[inline]
    pub(super) fn may_know(&self, name: &HeaderName) -> bool {
        self.known.may_match(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::known::CONSTANTS;

    /// So [`Known`] need not read the name of a constant.
    #[test]
    fn no_dialect_knows_a_constant_of_http() {
        let profiles = [
            STANDARD,
            &[
                ANTHROPIC, OPENAI, GITHUB, DISCORD, RIOT, SHOPIFY, GOOGLE, AWS, GRPC, STRIPE,
                SALESFORCE,
            ],
        ];
        for dialect in profiles.into_iter().flatten() {
            for name in CONSTANTS {
                assert!(!dialect.has_header(name.as_str()), "{name}");
            }
        }
    }
}

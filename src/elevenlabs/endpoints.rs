//! Endpoints made from the published limits.

use super::plan::{Family, Plan, Preset};
use crate::{Endpoints, Quota, RequestHead};

/// The four endpoints that turn text to speech. They share one limit.
pub const TEXT_TO_SPEECH: [&str; 4] = [
    "POST /v1/text-to-speech/{voice_id}",
    "POST /v1/text-to-speech/{voice_id}/stream",
    "POST /v1/text-to-speech/{voice_id}/with-timestamps",
    "POST /v1/text-to-speech/{voice_id}/stream/with-timestamps",
];

/// The name of the group that [`endpoints`] makes.
const GROUP: &str = "text-to-speech";

/// At most so many requests for speech at once, whatever their models: the group `text-to-speech` of
/// the endpoints [`TEXT_TO_SPEECH`]. Nothing else is limited, until you add it.
///
/// # Panics
///
/// If `concurrency` is 0.
#[track_caller]
pub fn endpoints(concurrency: usize) -> Endpoints {
    Endpoints::new().group(GROUP, Quota::concurrent(concurrency), TEXT_TO_SPEECH)
}

impl Preset {
    /// [`endpoints`] with the recommended setting.
    pub fn endpoints(self) -> Endpoints {
        endpoints(self.recommended)
    }
}

impl Plan {
    /// The limits of [`concurrency`](Self::concurrency), as one endpoint for each family, named
    /// `multilingual` and `flash`.
    ///
    /// A request for speech chooses its family with the extension [`Family::endpoint`]; one that does
    /// not is in the family with the lower limit. Nothing else is limited, until you add it. The
    /// builder's [`name_by`](Endpoints::name_by) is taken by this.
    pub fn endpoints(self) -> Endpoints {
        let mut endpoints = Endpoints::new();
        for family in Family::ALL {
            let quota = Quota::concurrent(self.concurrency(family));
            endpoints = endpoints.named(family.name(), quota);
        }
        endpoints.name_by(|head| is_speech(head).then_some(Family::Multilingual.name()))
    }
}

fn is_speech(head: &RequestHead<'_>) -> bool {
    // A voice's id is one segment; what may follow it is all speech too.
    let path = head.uri().path();
    head.method() == http::Method::POST && path.starts_with("/v1/text-to-speech/")
}

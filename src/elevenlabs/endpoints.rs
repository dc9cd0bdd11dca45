//! Endpoints made from the published limits.

use tower_throttle_plans::elevenlabs::{Family, Plan, Preset};

use crate::{EndpointName, Endpoints, Quota, RequestHead};

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

impl From<Preset> for Endpoints {
    /// [`endpoints`] with the recommended setting.
    fn from(preset: Preset) -> Self {
        endpoints(preset.recommended)
    }
}

impl From<Plan> for Endpoints {
    /// The limits of [`Plan::concurrency`], as one endpoint for each family, named `multilingual` and `flash`.
    ///
    /// A request for speech chooses its family with an extension, the [`EndpointName`] of a [`Family`]; one that does
    /// not is in the family with the lower limit. Nothing else is limited, until you add it. The builder's
    /// [`name_by`](Endpoints::name_by) is taken by this.
    fn from(plan: Plan) -> Self {
        let mut endpoints = Endpoints::new();
        for family in Family::ALL {
            let quota = Quota::concurrent(plan.concurrency(family));
            endpoints = endpoints.named(family.name(), quota);
        }
        endpoints.name_by(|head| is_speech(head).then_some(Family::Multilingual.name()))
    }
}

impl From<Family> for EndpointName {
    /// The extension that puts a request under this family's limit, where the [`Endpoints`] are made from a [`Plan`].
    fn from(family: Family) -> Self {
        Self::new(family.name())
    }
}

fn is_speech(head: &RequestHead<'_>) -> bool {
    // A voice's id is one segment; what may follow it is all speech too.
    let path = head.uri().path();
    head.method() == http::Method::POST && path.starts_with("/v1/text-to-speech/")
}

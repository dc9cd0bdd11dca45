//! What the ElevenLabs API allows, by plan, and endpoints made from it.
//!
//! ElevenLabs publishes no requests per second: a workspace may have so many requests *in flight*, and
//! one with more gets a 429. Two tables say how many, and they differ; both are here, with their dates.
//!
//! | plan | [`Plan::preset`]: limit, recommended | [`Plan::concurrency`]: Multilingual, Flash |
//! |---|---|---|
//! | Free | 4, 3 | 2, 4 |
//! | Starter | 10, 8 | 3, 6 |
//! | Creator | 20, 15 | 5, 10 |
//! | Pro | 50, 40 | 10, 20 |
//! | Scale, Business | - | 15, 30 |
//!
//! The first is one user's own: what worked for their accounts, and a setting that leaves room below it. The
//! second is what the vendor published on 2026-06-26, one limit per family of models; "Multilingual" is
//! the vendor's "Multilingual v2 and all other models". When in doubt, start with the second: a limit that
//! is too low costs time, one that is too high costs refusals, and [learning](crate::Learning) corrects
//! only the latter.
//!
//! # One limit for all models
//!
//! The setting comes from the environment, with [`MaxConcurrent::from_env`], or from anywhere else:
//!
//! ```
//! use tower_throttle::{ThrottleLayer, elevenlabs::{self, MaxConcurrent, Plan}};
//!
//! # fn main() -> Result<(), elevenlabs::InvalidMaxConcurrent> {
//! let setting = MaxConcurrent::parse("5")?;
//! if let Err(above) = setting.check(Plan::Free) {
//!     eprintln!("warning: {above}"); // the plan allows 4, so this will fail
//! }
//! let layer = ThrottleLayer::new(elevenlabs::endpoints(setting.get()));
//! # let _ = layer;
//! # Ok(())
//! # }
//! ```
//!
//! # One limit for each family of models
//!
//! The family is in the request's body, where no layer can see it, so the request says it itself, with
//! an [`EndpointName`](crate::EndpointName):
//!
//! ```
//! use http::Request;
//! use tower_throttle::{ThrottleLayer, elevenlabs::{Family, Plan}};
//!
//! let layer = ThrottleLayer::new(Plan::Creator.endpoints());
//!
//! let model = "eleven_flash_v2_5";
//! let request = Request::post("https://api.elevenlabs.io/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM")
//!     .extension(Family::of_model(model).endpoint())
//!     .body(format!(r#"{{"model_id": "{model}", "text": "Hello"}}"#))?;
//! # let _ = (layer, request);
//! # Ok::<(), http::Error>(())
//! ```

mod endpoints;
mod plan;
mod setting;

pub use self::{
    endpoints::{TEXT_TO_SPEECH, endpoints},
    plan::{Family, Plan, Preset, UnknownPlan},
    setting::{AbovePlan, InvalidMaxConcurrent, MaxConcurrent},
};

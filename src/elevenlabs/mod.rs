//! What the ElevenLabs API allows, by plan, and endpoints made from it.
//!
//! ElevenLabs publishes no requests per second: a workspace may have so many requests *in flight*, and
//! one with more gets a 429. Two tables say how many, and they differ: [`Plan::preset`] and [`Plan::concurrency`].
//! When in doubt, start with the second: a limit that is too low costs time, one that is too high costs refusals, and
//! [learning](crate::Learning) corrects only the latter.
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
//! use tower_throttle::{EndpointName, Endpoints, ThrottleLayer, elevenlabs::{Family, Plan}};
//!
//! let layer = ThrottleLayer::new(Endpoints::from(Plan::Creator));
//!
//! let model = "eleven_flash_v2_5";
//! let request = Request::post("https://api.elevenlabs.io/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM")
//!     .extension(EndpointName::from(Family::of_model(model)))
//!     .body(format!(r#"{{"model_id": "{model}", "text": "Hello"}}"#))?;
//! # let _ = (layer, request);
//! # Ok::<(), http::Error>(())
//! ```

mod endpoints;
mod setting;

pub use tower_throttle_plans::elevenlabs::{Family, Plan, Preset, UnknownPlan};

pub use self::{
    endpoints::{TEXT_TO_SPEECH, endpoints},
    setting::{AbovePlan, InvalidMaxConcurrent, MaxConcurrent},
};

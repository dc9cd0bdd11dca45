//! Ten segments, sent in three ways to an API that allows four at once: all together, as the service sends
//! them, and one by one.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::json;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};
use tower_throttle::{BoxError, ThrottleLayer, elevenlabs};

use crate::{
    base_url::BaseUrl,
    config::{MODEL, VOICE},
};

/// How many segments are sent.
pub const SEGMENTS: usize = 10;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Segments that were voiced.
    pub voiced: usize,
    /// Segments that were refused as too many at once.
    pub refused: usize,
    /// How long it took until the last answer had been read.
    pub took: Duration,
}

/// Sends all segments together.
///
/// # Errors
///
/// If one is neither voiced nor refused.
pub async fn unlimited<S, B>(api: S, base: &BaseUrl) -> Result<Outcome, BoxError>
where
    S: Service<Request<Full<Bytes>>, Response = http::Response<B>> + Clone,
    S::Error: Into<BoxError>,
    B: http_body::Body<Error: Into<BoxError>>,
{
    let start = Instant::now();
    let answers = join_all((0..SEGMENTS).map(async |number| {
        let text = json!({"text": format!("Segment {number}"), "model_id": MODEL}).to_string();
        let request = Request::post(base.join(&format!("/v1/text-to-speech/{VOICE}")))
            .header("xi-api-key", "mock")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(text))?;
        let answer = api.clone().oneshot(request).await.map_err(Into::into)?;
        let status = answer.status();
        answer.into_body().collect().await.map_err(Into::into)?;
        Ok::<_, BoxError>(status)
    }))
    .await;
    let mut outcome = Outcome {
        voiced: 0,
        refused: 0,
        took: start.elapsed(),
    };
    for status in answers {
        match status? {
            StatusCode::OK => outcome.voiced += 1,
            StatusCode::TOO_MANY_REQUESTS => outcome.refused += 1,
            other => return Err(format!("the API answered {other}").into()),
        }
    }
    Ok(outcome)
}

/// Hands all segments over together, of which so many are sent at once. Nothing is sent again.
///
/// # Errors
///
/// If one is neither voiced nor refused.
pub async fn limited<S, B>(api: S, base: &BaseUrl, at_once: usize) -> Result<Outcome, BoxError>
where
    S: Service<Request<Full<Bytes>>, Response = http::Response<B>> + Clone,
    S::Error: Into<BoxError>,
    B: http_body::Body<Error: Into<BoxError>>,
{
    let layer = ThrottleLayer::new(elevenlabs::endpoints(at_once)).without_retry();
    unlimited(layer.layer(api), base).await
}

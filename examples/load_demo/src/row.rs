//! One experiment, and what it came to.

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use tokio::time::Instant;
use tower_throttle::{
    BoxError,
    mock::{
        EndpointReport,
        elevenlabs::{Error, MockElevenLabs},
    },
};

/// A line of a table: calls that were made at the same moment, to one endpoint.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) label: String,
    /// From the first call to the end of the last answer.
    pub(crate) took: Duration,
    /// The API's score card of the endpoint.
    pub(crate) score: EndpointReport,
    /// How many calls the API should have refused.
    pub(crate) to_be_refused: usize,
}

impl Row {
    /// Makes all calls at once, and waits for the last answer.
    ///
    /// Refusals are part of the experiment; whatever else goes wrong ends it.
    pub(crate) async fn measure<F, T>(
        label: &str,
        api: &MockElevenLabs,
        endpoint: &str,
        to_be_refused: usize,
        calls: impl IntoIterator<Item = F>,
    ) -> Result<Self, BoxError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let start = Instant::now();
        let answers = join_all(calls).await;
        let took = start.elapsed();
        for answer in answers {
            match answer {
                Err(error) if error.status() == Some(StatusCode::TOO_MANY_REQUESTS) => {}
                answer => drop(answer?),
            }
        }
        Ok(Self {
            label: label.to_owned(),
            took,
            score: api.report().endpoint(endpoint).clone(),
            to_be_refused,
        })
    }

    /// Whether the API accepted and refused as many as it should.
    pub(crate) fn is_as_expected(&self) -> bool {
        self.score.refused() == self.to_be_refused
    }
}

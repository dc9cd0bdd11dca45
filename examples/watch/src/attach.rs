//! Reads the status page of a gateway again and again.

use std::time::Duration;

use bytes::Bytes;
use http::{Uri, uri::PathAndQuery};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{stack::Stack, status::Status};

/// The time between two pages.
const EVERY: Duration = Duration::from_millis(500);
/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Some hundred thousand buckets.
const LARGEST: usize = 64 << 20;

/// Where a gateway has its status.
const STATUS: &str = "/__gateway__/status";

/// The status page of the gateway at an address such as `http://127.0.0.1:8080`, or the page itself if the address has a
/// path.
///
/// # Errors
///
/// If it is no address of HTTP with a host, in words that say what was expected.
pub fn address(text: &str) -> Result<Uri, String> {
    let expected = "expected an address such as http://127.0.0.1:8080";
    let uri: Uri = text
        .parse()
        .map_err(|error| format!("{text:?}: {error}: {expected}"))?;
    if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
        return Err(format!("{text:?}: {expected}"));
    }
    if uri.path() != "/" {
        return Ok(uri);
    }
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static(STATUS));
    Uri::from_parts(parts).map_err(|error| format!("{text:?}: {error}: {expected}"))
}

/// Reads the page twice a second, and tells what it says, or what went wrong. Ends when nobody listens any more.
pub async fn follow(address: Uri, told: watch::Sender<Result<Stack, String>>) {
    let reader = Reader::new(address);
    let mut status = Status::new();
    let mut times = interval(EVERY);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        let look = reader.read(&mut status).await;
        if told.send(look).is_err() {
            return;
        }
    }
}

/// Reads the page once.
///
/// # Errors
///
/// If it does not come, or is no status page.
pub async fn look(address: Uri) -> Result<Stack, String> {
    Reader::new(address).read(&mut Status::new()).await
}

struct Reader {
    client: Client<HttpConnector, Empty<Bytes>>,
    address: Uri,
}

impl Reader {
    fn new(address: Uri) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, address }
    }

    async fn read(&self, status: &mut Status) -> Result<Stack, String> {
        let page = timeout(PATIENCE, self.fetch()).await;
        let page = page.map_err(|_| format!("no answer within {PATIENCE:?}"))??;
        let stack = status.read(&page);
        stack.map_err(|error| format!("no status page: {error}"))
    }

    async fn fetch(&self) -> Result<Bytes, String> {
        let answer = self.client.get(self.address.clone()).await;
        let answer = answer.map_err(|error| cause(&error))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("expected a status page, and got {status}"));
        }
        let page = Limited::new(answer.into_body(), LARGEST).collect().await;
        page.map(http_body_util::Collected::to_bytes)
            .map_err(|error| cause(&*error))
    }
}

/// The innermost cause of an error, which says most.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().map_or_else(String::new, ToString::to_string)
}

use tokio::time::Instant;

use super::{cost::Cost, flow::Flow, priority::Priority};

/// What one request asks for: a request extension.
///
/// What is stated here goes before what closures of the layer say, and before the extensions
/// [`Deadline`](crate::Deadline), [`EndpointName`](crate::EndpointName) and [`Idempotent`](crate::Idempotent), which
/// say one thing each. Retries keep it. The last
/// call of each method counts.
///
/// ```
/// use std::time::Duration;
/// use http::Request;
/// use tokio::time::Instant;
/// use tower_throttle::{Cost, Terms, Unit};
///
/// # let now = Instant::now();
/// let terms = Terms::new()
///     .cost(Cost::new().of(Unit::INPUT_TOKENS, 350))
///     .endpoint("large-model")
///     .deadline(now + Duration::from_secs(20))
///     .idempotent();
/// let request = Request::post("https://api.example/v1/chat").extension(terms).body("..")?;
/// # let _ = request;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Terms {
    cost: Option<Cost>,
    priority: Option<Priority>,
    flow: Option<Flow>,
    deadline: Option<Instant>,
    endpoint: Option<String>,
    idempotent: bool,
}

impl Terms {
    /// Asks for nothing in particular.
    pub fn new() -> Self {
        Self::default()
    }

    /// States what the request takes. Of what it leaves out, the request takes what the layer's `cost_by` says, and
    /// otherwise what a request takes that states [nothing](Cost).
    ///
    /// A request that states more than a window or the concurrency of its quota can ever hold is refused with
    /// [`NeverFits`](crate::RefusedReason::NeverFits).
    pub fn cost(mut self, cost: Cost) -> Self {
        self.cost = Some(cost);
        self
    }

    /// The class of the request among those that wait: a higher one goes first. Without it, the layer's `priority_by`
    /// says, and otherwise it is [`Priority::NORMAL`]. Retries keep it.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// The flow of the request: see [`Flow`]. Without it, the layer's `flow_by` says, and otherwise it is of the flow of
    /// all requests that have none. Retries keep it.
    pub fn flow(mut self, flow: Flow) -> Self {
        self.flow = Some(flow);
        self
    }

    /// The instant after which an answer is of no use: as [`Deadline`](crate::Deadline).
    pub fn deadline(mut self, at: Instant) -> Self {
        self.deadline = Some(at);
        self
    }

    /// Chooses a [named endpoint](crate::Endpoints::named): as
    /// [`EndpointName`](crate::EndpointName). With a name that is not configured the
    /// request is not sent, and the error is [`UnknownEndpoint`](crate::UnknownEndpoint).
    pub fn endpoint(mut self, name: &str) -> Self {
        self.endpoint = Some(name.to_owned());
        self
    }

    /// The request can be sent twice without harm, whatever its method: as
    /// [`Idempotent`](crate::Idempotent).
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    pub(crate) fn stated_cost(&self) -> Option<&Cost> {
        self.cost.as_ref()
    }

    pub(crate) fn stated_priority(&self) -> Option<Priority> {
        self.priority
    }

    pub(crate) fn stated_flow(&self) -> Option<Flow> {
        self.flow
    }

    pub(crate) fn stated_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn stated_endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    pub(crate) fn is_idempotent(&self) -> bool {
        self.idempotent
    }
}

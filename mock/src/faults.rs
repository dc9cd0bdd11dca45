//! What goes wrong on purpose: faults that a test schedules, and which request each of them strikes.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::{
    answer::{self, Answer},
    retry_after::Hint,
    work::check_time,
};

/// Something that goes wrong with a request, scheduled with [`Judge::fault`](super::Judge::fault).
///
/// A fault strikes the next request of its endpoint, once, unless told otherwise: see [`Fault::on`],
/// [`Fault::after`] and [`Fault::times`].
///
/// # What counts
///
/// | fault | strikes | counts against the limits |
/// |---|---|---|
/// | [`status`](Fault::status), [`answer`](Fault::answer), [`reset`](Fault::reset) | whatever arrives, before it is checked or judged | no: as if a proxy in front had failed |
/// | the same with [`accepted`](Fault::accepted) | what has been accepted, in place of its answer | yes: it was worked on |
/// | [`delay`](Fault::delay), [`slow_body`](Fault::slow_body), [`cut_short`](Fault::cut_short), [`reset_after`](Fault::reset_after) | what has been accepted | yes, to its end |
///
/// What is refused uses up no fault of the latter kinds. All that are struck count as
/// [`faulted`](super::EndpointReport::faulted), and a `Retry-After` on a fault holds like any other.
///
/// ```
/// use std::time::Duration;
///
/// use tower_throttle_mock::{Fault, Judge, Limit, Work};
///
/// let api = Judge::builder()
///     .route("POST /tts", Limit::concurrent(4), Work::none())
///     .build();
/// let overloaded = Fault::status(503)
///     .retry_after(Duration::from_secs(2))
///     .header("content-type", "text/html")
///     .body("<h1>Service Unavailable</h1>");
/// api.fault(overloaded.on("POST /tts").after(3).times(2));
/// api.fault(Fault::reset_after(100));
/// assert_eq!(api.faults().len(), 2);
/// api.clear_faults();
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    strikes: Strikes,
    delay: Duration,
    on: Option<String>,
    after: usize,
    /// How many requests it still strikes; `None` for all.
    times: Option<usize>,
}

#[derive(Clone, Debug)]
enum Strikes {
    /// Whatever arrives, before the limits.
    Arrived(Instead),
    /// What has been accepted.
    Accepted(Effect),
}

/// What becomes of a request that has been accepted.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// It is answered, but later.
    Late,
    Instead(Instead),
    Spoilt(Spoilt),
}

/// What comes in place of the endpoint's answer.
#[derive(Clone, Debug)]
pub(crate) enum Instead {
    Answer(Answer, Option<Hint>),
    /// The connection breaks.
    Reset,
}

/// What becomes of the endpoint's answer's body.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spoilt {
    /// The connection breaks after so many bytes.
    ResetAfter(usize),
    /// It ends after so many bytes, and was announced to be longer.
    CutShort(usize),
    /// It comes in pieces of so many bytes, one every so often.
    Slow { bytes: usize, every: Duration },
}

impl Fault {
    fn new(strikes: Strikes) -> Self {
        Self {
            strikes,
            delay: Duration::ZERO,
            on: None,
            after: 0,
            times: Some(1),
        }
    }

    fn spoils(body: Spoilt) -> Self {
        Self::new(Strikes::Accepted(Effect::Spoilt(body)))
    }

    /// An answer with this status, and a small JSON body.
    ///
    /// # Panics
    ///
    /// If there is no such status.
    #[track_caller]
    pub fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status)
            .unwrap_or_else(|_| panic!("{status} is no status: expected 100 to 999"));
        Self::answer(answer::fault(status))
    }

    /// Any answer.
    pub fn answer(answer: impl Into<Answer>) -> Self {
        Self::new(Strikes::Arrived(Instead::Answer(answer.into(), None)))
    }

    /// A connection that breaks before there is an answer.
    ///
    /// Over HTTP/1.1 it is reset; over HTTP/2 only the request's stream is, as other requests share the
    /// connection. As a service, the future fails with an [`io::Error`](std::io::Error) whose kind is
    /// [`ConnectionReset`](std::io::ErrorKind::ConnectionReset).
    pub fn reset() -> Self {
        Self::new(Strikes::Arrived(Instead::Reset))
    }

    /// A connection that breaks, as with [`Fault::reset`], when so many bytes of the answer's body have
    /// been sent; at the latest before its last byte.
    pub fn reset_after(bytes: usize) -> Self {
        Self::spoils(Spoilt::ResetAfter(bytes))
    }

    /// A body that ends after so many bytes although the head's `content-length` announces all of it.
    pub fn cut_short(bytes: usize) -> Self {
        Self::spoils(Spoilt::CutShort(bytes))
    }

    /// A body of which so many bytes come with the head, and as many again every so often.
    ///
    /// # Panics
    ///
    /// If `bytes` is 0, or the time longer than a century.
    #[track_caller]
    pub fn slow_body(bytes: usize, every: Duration) -> Self {
        assert!(
            bytes > 0,
            "a body of which 0 bytes come at a time never ends"
        );
        check_time(every);
        Self::spoils(Spoilt::Slow { bytes, every })
    }

    /// An answer that takes so much longer.
    ///
    /// # Panics
    ///
    /// If that is longer than a century.
    #[track_caller]
    pub fn delay(time: Duration) -> Self {
        Self::new(Strikes::Accepted(Effect::Late)).delayed(time)
    }

    /// Takes so long, on top of any work: the answer, or the reset, comes so much later.
    ///
    /// # Panics
    ///
    /// If that is longer than a century.
    #[track_caller]
    pub fn delayed(mut self, time: Duration) -> Self {
        check_time(time);
        self.delay = time;
        self
    }

    /// Strikes only requests that have been accepted, when their answers are due: see the
    /// [table](Fault#what-counts).
    pub fn accepted(mut self) -> Self {
        if let Strikes::Arrived(instead) = self.strikes {
            self.strikes = Strikes::Accepted(Effect::Instead(instead));
        }
        self
    }

    /// Strikes only requests to the endpoint with this template.
    pub fn on(mut self, template: impl Into<String>) -> Self {
        self.on = Some(template.into());
        self
    }

    /// Lets so many requests pass first that it would strike otherwise, whether or not another fault
    /// strikes them.
    pub fn after(mut self, requests: usize) -> Self {
        self.after = requests;
        self
    }

    /// Strikes so many requests. By default: one.
    ///
    /// # Panics
    ///
    /// If `requests` is 0.
    #[track_caller]
    pub fn times(mut self, requests: usize) -> Self {
        assert!(requests > 0, "a fault that strikes 0 requests is none");
        self.times = Some(requests);
        self
    }

    /// Strikes until it is cleared.
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    /// Adds a header to the fault's answer, or replaces it.
    ///
    /// # Panics
    ///
    /// If this is no header, or if the fault has no answer of its own.
    #[track_caller]
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        let (Ok(name), Ok(value)) = (name.try_into(), value.try_into()) else {
            panic!("this is no header that a response could have");
        };
        let (answer, _) = self.own_answer();
        answer.head_mut().headers_mut().insert(name, value);
        self
    }

    /// Replaces the body of the fault's answer. Its `content-type` is `application/json`, unless a
    /// [`header`](Fault::header) says something else.
    ///
    /// # Panics
    ///
    /// If the fault has no answer of its own.
    #[track_caller]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        let (answer, _) = self.own_answer();
        let head = std::mem::take(&mut answer.head);
        let costs = std::mem::take(&mut answer.costs);
        *answer = head.map(|()| body.into() as Bytes).into();
        answer.costs = costs;
        self
    }

    /// Compresses the body of the fault's answer: see [`Answer::gzip`]. To be called after
    /// [`body`](Fault::body).
    ///
    /// # Panics
    ///
    /// If the fault has no answer of its own.
    #[track_caller]
    pub fn gzip(mut self) -> Self {
        let (answer, _) = self.own_answer();
        let empty = Answer::from(Response::new(Bytes::new()));
        *answer = std::mem::replace(answer, empty).gzip();
        self
    }

    /// Puts a `Retry-After` in seconds on the fault's answer, rounded up to whole ones.
    ///
    /// # Panics
    ///
    /// If the fault has no answer of its own.
    #[track_caller]
    pub fn retry_after(mut self, time: Duration) -> Self {
        *self.own_answer().1 = Some(Hint::Seconds(time));
        self
    }

    /// Puts a `Retry-After` on the fault's answer that is a date: so long after the answer is handed
    /// out, rounded up to the next whole second of the judge's clock.
    ///
    /// # Panics
    ///
    /// If the fault has no answer of its own.
    #[track_caller]
    pub fn retry_after_date(mut self, time: Duration) -> Self {
        *self.own_answer().1 = Some(Hint::Date(time));
        self
    }

    #[track_caller]
    fn own_answer(&mut self) -> (&mut Answer, &mut Option<Hint>) {
        match &mut self.strikes {
            Strikes::Arrived(Instead::Answer(answer, hint))
            | Strikes::Accepted(Effect::Instead(Instead::Answer(answer, hint))) => (answer, hint),
            _ => panic!("only a fault made by `Fault::status` or `Fault::answer` has an answer"),
        }
    }

    /// The template of the endpoint whose requests it strikes; nothing if it strikes any.
    pub fn endpoint(&self) -> Option<&str> {
        self.on.as_deref()
    }
}

/// Which faults are still to come, in the order in which they were scheduled.
#[derive(Debug, Default)]
pub(crate) struct Schedule(Vec<Scheduled>);

#[derive(Debug)]
struct Scheduled {
    fault: Fault,
    /// The endpoint that it is for; `None` for all.
    endpoint: Option<usize>,
}

impl Schedule {
    pub(crate) fn add(&mut self, fault: Fault, endpoint: Option<usize>) {
        self.0.push(Scheduled { fault, endpoint });
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// What is still to come.
    pub(crate) fn remaining(&self) -> Vec<Fault> {
        let scheduled = self.0.iter();
        scheduled.map(|scheduled| scheduled.fault.clone()).collect()
    }

    /// A request has arrived at this endpoint: what strikes it, if anything does, and how much later it
    /// shows.
    pub(crate) fn arrived(&mut self, endpoint: usize) -> Option<(Instead, Duration)> {
        self.strike(endpoint, |strikes| match strikes {
            Strikes::Arrived(instead) => Some(instead),
            Strikes::Accepted(_) => None,
        })
    }

    /// A request has been accepted at this endpoint: what strikes it, if anything does, and how much
    /// longer it takes.
    pub(crate) fn accepted(&mut self, endpoint: usize) -> Option<(Effect, Duration)> {
        self.strike(endpoint, |strikes| match strikes {
            Strikes::Arrived(_) => None,
            Strikes::Accepted(effect) => Some(effect),
        })
    }

    /// The first fault of a kind that is due strikes; those that are not come nearer by one request.
    fn strike<T: Clone>(
        &mut self,
        endpoint: usize,
        kind: impl Fn(&Strikes) -> Option<&T>,
    ) -> Option<(T, Duration)> {
        let mut struck = None;
        self.0.retain_mut(|scheduled| {
            let fault = &mut scheduled.fault;
            let elsewhere = scheduled.endpoint.is_some_and(|on| on != endpoint);
            let Some(what) = kind(&fault.strikes).filter(|_| !elsewhere) else {
                return true;
            };
            if fault.after > 0 {
                fault.after -= 1;
            } else if struck.is_none() {
                struck = Some((what.clone(), fault.delay));
                fault.times = fault.times.map(|times| times - 1);
            }
            fault.times != Some(0)
        });
        struck
    }
}

/// `status 503, on POST /tts, after 3 requests, 2 times`
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.strikes {
            Strikes::Arrived(instead) => write!(f, "{instead}")?,
            Strikes::Accepted(Effect::Instead(instead)) => {
                write!(f, "{instead} in place of the answer")?;
            }
            Strikes::Accepted(Effect::Spoilt(spoilt)) => write!(f, "{spoilt}")?,
            Strikes::Accepted(Effect::Late) => write!(f, "delayed by {:?}", self.delay)?,
        }
        let is_delay = matches!(self.strikes, Strikes::Accepted(Effect::Late));
        if !is_delay && !self.delay.is_zero() {
            write!(f, ", delayed by {:?}", self.delay)?;
        }
        if let Some(on) = &self.on {
            write!(f, ", on {on}")?;
        }
        if self.after > 0 {
            write!(f, ", after {} requests", self.after)?;
        }
        match self.times {
            Some(1) => Ok(()),
            Some(times) => write!(f, ", {times} times"),
            None => f.write_str(", always"),
        }
    }
}

impl fmt::Display for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(answer, _) => write!(f, "status {}", answer.head().status().as_u16()),
            Self::Reset => f.write_str("reset"),
        }
    }
}

impl fmt::Display for Spoilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ResetAfter(bytes) => write!(f, "reset after {bytes} bytes"),
            Self::CutShort(bytes) => write!(f, "body cut short after {bytes} bytes"),
            Self::Slow { bytes, every } => write!(f, "body of {bytes} bytes every {every:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the requests, all to this endpoint, are struck, and by which status.
    fn struck(schedule: &mut Schedule, endpoint: usize, requests: usize) -> Vec<Option<u16>> {
        let statuses = (0..requests).map(|_| match schedule.arrived(endpoint)? {
            (Instead::Answer(answer, _), _) => Some(answer.head().status().as_u16()),
            (Instead::Reset, _) => None,
        });
        statuses.collect()
    }

    #[test]
    fn a_fault_strikes_once_unless_told_otherwise() {
        let mut schedule = Schedule::default();
        schedule.add(Fault::status(500), None);
        assert_eq!(struck(&mut schedule, 0, 3), [Some(500), None, None]);
        schedule.add(Fault::status(500).after(2).times(2), None);
        let expected = [None, None, Some(500), Some(500), None];
        assert_eq!(struck(&mut schedule, 0, 5), expected);
        schedule.add(Fault::status(500).always(), None);
        assert_eq!(struck(&mut schedule, 0, 99), [Some(500); 99]);
        schedule.clear();
        assert_eq!(struck(&mut schedule, 0, 1), [None]);
    }

    #[test]
    fn of_several_the_first_that_is_due_strikes_and_the_others_come_nearer() {
        let mut schedule = Schedule::default();
        schedule.add(Fault::status(500).after(1).times(2), None);
        schedule.add(Fault::status(502).times(2), None);
        schedule.add(Fault::status(503).after(3), None);
        let expected = [Some(502), Some(500), Some(500), Some(502), Some(503), None];
        assert_eq!(struck(&mut schedule, 0, 6), expected);
    }

    #[test]
    fn other_endpoints_and_other_kinds_leave_a_fault_as_it_is() {
        let mut schedule = Schedule::default();
        schedule.add(Fault::status(500).after(1).on("/b"), Some(1));
        schedule.add(Fault::delay(Duration::from_secs(1)).after(1), None);
        assert_eq!(struck(&mut schedule, 0, 5), [None; 5]);
        assert!(schedule.accepted(0).is_none());
        assert_eq!(struck(&mut schedule, 1, 3), [None, Some(500), None]);
        let (effect, delay) = schedule.accepted(1).unwrap();
        assert!(matches!(effect, Effect::Late));
        assert_eq!(delay, Duration::from_secs(1));
    }

    #[test]
    fn what_is_still_to_come_says_what_it_is() {
        let mut schedule = Schedule::default();
        let second = Duration::from_secs(1);
        schedule.add(Fault::status(503).on("/a").after(3).times(2), Some(0));
        schedule.add(Fault::reset().accepted().delayed(second), None);
        schedule.add(Fault::slow_body(1, second).always(), None);
        schedule.add(Fault::delay(second), None);
        schedule.arrived(0);
        let remaining = schedule.remaining();
        let remaining: Vec<_> = remaining.iter().map(Fault::to_string).collect();
        assert_eq!(
            remaining,
            [
                "status 503, on /a, after 2 requests, 2 times",
                "reset in place of the answer, delayed by 1s",
                "body of 1 bytes every 1s, always",
                "delayed by 1s",
            ]
        );
    }

    #[test]
    fn what_makes_no_fault_is_refused() {
        let refused: [fn() -> Fault; 6] = [
            || Fault::status(42),
            || Fault::slow_body(0, Duration::ZERO),
            || Fault::reset().times(0),
            || Fault::reset().body("nowhere to go"),
            || Fault::status(500).header("no name", "value"),
            || Fault::reset_after(1).retry_after(Duration::ZERO),
        ];
        for build in refused {
            assert!(std::panic::catch_unwind(build).is_err());
        }
    }
}

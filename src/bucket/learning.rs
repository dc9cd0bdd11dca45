/// Which lessons a layer learns from its server's answers. All of them by default, without
/// [`discover`](Self::discover).
///
/// For [`learn`](crate::ThrottleLayer::learn), which all limiting layers have. What was learned of a
/// bucket shows in its [snapshot](crate::BucketSnapshot::learned).
///
/// A lesson narrows what was configured and never widens it, whatever a server says. It concerns the
/// endpoint, or the group if that is what has the limit; `overall` and the total across partitions
/// learn nothing. It is given back step by step while requests succeed, and ends if nothing has
/// confirmed it for ten minutes, whether anything succeeds meanwhile or not. Many requests may be on
/// their way when the first is refused: their refusals together count as one wave.
///
/// # What teaches what
///
/// - A refusal that says "too many at once" teaches a [concurrency](Self::concurrency); one that names a limit
///   and its period teaches that [rate](Self::rate).
/// - A refusal that says neither, and names no delay, may be about either. Both are kept in mind, and whichever
///   lets more requests through is tried first, until one of the two does not explain what is refused.
/// - A delay pauses. It says when a window opens, and not how long it is: it is taken for a period only if more
///   than eight requests were sent in as long a time.
/// - What was accepted in a wave is the limit. A wave of which nothing was accepted teaches none, and neither does
///   a single refusal of fewer than eight requests. After their pause, requests come back one after the other
///   where no limit is known: one, two, four and so on, in at most an eighth of the pause.
/// - A window that is in use and should have had room may be too narrow for an unsteady way: that teaches a
///   [margin](Self::margin).
/// - A request that is refused while all others are accepted has a trouble of its own: it waits by itself, from half
///   a second to 20 s, and teaches nothing, whatever is learned otherwise.
/// - What is refused for its tokens teaches nothing about requests. It teaches a [margin](Self::margin) of that unit,
///   where the quota counts it.
///
/// # What it costs at most
///
/// A lesson that is wrong slows its bucket down until it is given back, or refuted: as soon as about as much is
/// refused under it as before, it is dropped, and after each that was dropped more waves pass without a new one (2,
/// 6, 14, up to 62). A rate is tried anew after 20 seconds, and then twice as fast every ten, until a try fails; a
/// failed try costs one refusal. Of limits from 2 on at most one request in a hundred is refused for trying.
///
/// # How to switch it off
///
/// `layer.learn(Learning::none())`, or one kind by its method below. Pauses stay: they are no lesson.
///
/// No layer learns what it does not enforce: [`RpsLayer`](crate::RpsLayer) no concurrency, and
/// [`ConcurrencyLayer`](crate::ConcurrencyLayer) nothing about windows: of quota headers it only
/// minds that nothing is left.
///
/// ```
/// use tower_throttle::{Endpoints, Learning, Quota, ThrottleLayer};
///
/// // The network's jitter is known here, and configured.
/// let margin = std::time::Duration::from_millis(100);
/// let endpoints = Endpoints::new().route("GET /v1/voices", Quota::per_second(5).margin(margin));
/// let layer = ThrottleLayer::new(endpoints).learn(Learning::all().margin(false));
/// # let _ = layer;
/// ```
#[expect(
    clippy::struct_excessive_bools,
    reason = "five switches are what it is"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learning {
    pub(crate) concurrency: bool,
    pub(crate) margin: bool,
    pub(crate) rate: bool,
    pub(crate) quota_headers: bool,
    pub(crate) discover: bool,
}

impl Learning {
    /// Everything below but [`discover`](Self::discover): the default.
    pub const fn all() -> Self {
        Self {
            concurrency: true,
            margin: true,
            rate: true,
            quota_headers: true,
            discover: false,
        }
    }

    /// Nothing: the quotas are what was configured. Pauses are no lesson, and stay.
    pub const fn none() -> Self {
        Self {
            concurrency: false,
            margin: false,
            rate: false,
            quota_headers: false,
            discover: false,
        }
    }

    /// How many requests the server takes at once.
    ///
    /// From how many were in flight and were not refused, even if the refusal names a higher limit,
    /// since others may have the rest; if it names a lower one, that counts. And from
    /// `maximum-concurrent-requests` on successes, except those of requests that were sent before a
    /// refusal: they raise nothing. Never fewer than one.
    ///
    /// After two rounds of successes (a round is as many as the limit) one more is tried, and then
    /// twice as many more after each further round; after a failed try it takes twice as many rounds,
    /// up to 48, for limits that were named as well. Only successes count that came while as many
    /// were in flight as the limit allows.
    pub const fn concurrency(mut self, on: bool) -> Self {
        self.concurrency = on;
        self
    }

    /// By how much the way there can shorten the time between two requests.
    ///
    /// A refusal widens the windows by 5 % of their period (10 % if another of the same burst is
    /// refused, too), each later one doubles that, up to 25 %. After 200 successes it shrinks by 1 %; twice
    /// as many each time that it was too early. Comes on top of [`Quota::margin`](crate::Quota::margin).
    ///
    /// The margin of another [unit](crate::Unit) is an amount, since it is estimates that were too low: the first wave
    /// of refusals that are about the unit leaves 5 % of each of its windows free, each later one 2.5 % more, at most
    /// 20 %. In two minutes 1 % is given back. [`WindowUse::left_free`](crate::WindowUse::left_free) shows it. The
    /// endpoint and its group learn it, where they count the unit.
    pub const fn margin(mut self, on: bool) -> Self {
        self.margin = on;
        self
    }

    /// How many requests the server takes in a time.
    ///
    /// Where no window is configured, or the configured ones are hardly used; where refusals go on with the
    /// widest margin; where half of a window of 8 or more is refused at once; and where a refusal names a limit
    /// that is tighter than the configured ones. The period is the one that the refusal names with its limit, else
    /// that of the shortest window, else the period that the refusal names, else its delay if more than eight
    /// requests were accepted in that time, else one second: a second at least, and nothing that is longer than a
    /// minute. An overload teaches only buckets without a window, and never its delay. Never fewer than one
    /// request. It is given back like concurrency, a round being as many successes as fit into the period, or ten
    /// seconds until a try has failed.
    ///
    /// Switched on, as with [`quota_headers`](Self::quota_headers), buckets without a window remember
    /// what they sent in the last minute, up to 65 536 requests of eight bytes each. Keys that come and go are kept
    /// for that minute if they have sent eight requests or more in it; of others, 65 536 are, at about 250 bytes
    /// each.
    pub const fn rate(mut self, on: bool) -> Self {
        self.rate = on;
        self
    }

    /// What quota headers on successes say is left.
    ///
    /// With nothing left, the bucket pauses until the reset, for `max_pause` at most. As long as it is not known
    /// whether the server keeps to that, one request goes half a second later all the same. If it is served,
    /// headers hold up nobody, until more of what they say is kept to than not.
    ///
    /// With a quarter of the limit left or less (or ten requests, if no limit is named) and as many waiting, what
    /// is left is spread evenly until then, or until a later answer says that more are left. With fewer waiting, or
    /// as long as it is not known whether nothing left is a stop, they go at once, and only what comes beyond waits.
    /// A reset that is later than `max_pause` paces nobody, and neither does a
    /// [`ConcurrencyLayer`](crate::ConcurrencyLayer), nor the quota of [everything](crate::signal::SignalScope)
    /// if no overall window is configured.
    pub const fn quota_headers(mut self, on: bool) -> Self {
        self.quota_headers = on;
        self
    }

    /// Begins slowly where nothing is configured, so that a crowd before an unknown limit is no storm. Off by
    /// default.
    ///
    /// An endpoint discovers if neither it nor its group, `overall` or the total across partitions has a window or
    /// a concurrency configured. At first 16 of its requests may be in flight, from dispatch until the answer's body
    /// has ended. While at least half of the limit is in use, each success raises it by one: it doubles with each
    /// round trip. The others wait in the queue, under `max_wait` and `max_waiting` like all who wait.
    ///
    /// When something is refused, what the refusals teach takes over: a [rate](Self::rate) or a
    /// [concurrency](Self::concurrency). Where they teach neither it begins again with as many as were accepted, or
    /// with 16 if none was. A limit that was not in use for a minute falls to twice what was in flight last, or to 16.
    ///
    /// # What it does, and what it costs
    ///
    /// Of 200 callers at once before a server of five per second, 195 are refused at first, and 11 with discovery.
    /// Where answers take longer than a second, it also tells what was sent in the second that was refused.
    /// Before a server without limits, c callers at once are all in flight after log2(c / 16) + 1 round trips, and
    /// not at once. Before one that refuses at random all requests may take twice as long as without. A call takes
    /// about 130 instructions more, since each success takes the layer's lock; a thousand more while eight or more
    /// are in flight.
    ///
    /// 16 is a choice, a little more than the ten packets with which TCP begins (RFC 6928): clients that have fewer
    /// in flight never notice, and 200 are reached with the fifth round trip.
    ///
    /// # When to use it
    ///
    /// For batches, crawlers and gateways that meet servers whose limits nobody has written down. Not where requests
    /// wait for each other: of 16 long polls none may depend on the seventeenth. [`RpsLayer`](crate::RpsLayer) counts
    /// nothing that is in flight, so there it has no effect.
    ///
    /// ```
    /// use tower_throttle::{Endpoints, Learning, ThrottleLayer};
    ///
    /// let layer = ThrottleLayer::new(Endpoints::new()).learn(Learning::all().discover());
    /// # let _ = layer;
    /// ```
    pub const fn discover(mut self) -> Self {
        self.discover = true;
        self
    }
}

impl Learning {
    /// Whether a lesson that erred makes others less likely. With discovery few requests test one at a time, so that
    /// an error costs little, and to forget a limit costs a growing crowd.
    pub(super) fn is_wary(self) -> bool {
        !self.discover
    }
}

impl Default for Learning {
    fn default() -> Self {
        Self::all()
    }
}

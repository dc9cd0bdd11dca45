//! What a user writes.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    hash::Hash,
    sync::Arc,
};

use http::HeaderName;

use super::{
    error::{InvalidEndpoint, Reason},
    hash_keys::HashKeys,
    name::{self, NameBy},
    partition::PartitionRule,
    template::Template,
    tier::{Tier, Tiers},
};
use crate::{quota::Quota, request_head::RequestHead};

/// Which endpoints an API has, and what each allows.
///
/// This is configuration only: it has no state, needs no runtime and is cheap to clone (a clone is copied
/// when it is changed). Give it to a layer, which makes the buckets; two layers made from the same
/// `Endpoints` share nothing. The order of the calls below is irrelevant.
///
/// ```
/// use std::time::Duration;
/// use tower_throttle::{Endpoints, Quota};
///
/// let endpoints = Endpoints::new()
///     .route("POST /v1/text-to-speech/{voice_id}", Quota::per_second(5).concurrency(4))
///     .route("POST /v1/voices/add", Quota::per_second(1).concurrency(1))
///     .route("api.other.example/v2/{*rest}", Quota::per(100, Duration::from_secs(120)))
///     .named("flash", Quota::concurrent(8))
///     .group(
///         "tts",
///         Quota::concurrent(4),
///         [
///             "POST /v1/text-to-speech/{voice_id}",
///             "POST /v1/text-to-speech/{voice_id}/stream",
///         ],
///     )
///     .overall(Quota::per_second(50))
///     .each_other_path(Quota::per_second(10));
/// ```
///
/// # Scopes
///
/// A request belongs to one endpoint; to the group of that endpoint, if it has one; to
/// [`overall`](Self::overall); and, with partitions, to the total
/// [across them](Self::across_partitions). It is sent when all of them admit it, and counts in all
/// of them.
///
/// # Templates
///
/// A template is `[METHOD ][host]/path`.
///
/// - Without a method it means every method; with one, that method in that letter case.
/// - Without a host it means every host; with one, that host on every port; with a host and a port,
///   that port only. An IPv6 address stands in brackets.
/// - In the path, `{name}` stands for one whole segment, and `{*name}`, as the last one, for all
///   the rest, of one or more characters. The names mean nothing, but have to be there. Everything
///   else is literal; a brace is written `%7B` or `%7D`.
///
/// Two templates have the same *shape* if they match the same requests: if they differ, after what
/// the next section says about spelling, in the names of their parameters at most.
///
/// # How a request finds its endpoint
///
/// 1. The name in the request's [`Terms`](crate::Terms::endpoint) decides, if there is one, or else its extension
///    [`EndpointName`](crate::EndpointName).
/// 2. Otherwise the closure given to [`name_by`](Self::name_by), if it returns a name.
/// 3. Otherwise the best of the templates that match the request: one with host and port beats one
///    with a host, which beats one without; then, segment by segment from the left, a literal
///    beats a `{name}`, which beats a `{*name}`; then one with a method beats one without. A
///    template with another method does not match, so it hides nothing: beside
///    `POST /v1/models`, a `GET /v1/{x}` serves `GET /v1/models`.
/// 4. Otherwise the request belongs to [`each_other_path`](Self::each_other_path) or
///    [`all_other_paths`](Self::all_other_paths). Without either it is not limited by itself, but
///    has a bucket with the other unmatched requests to the same host and port, for pauses and for
///    what is in flight.
///
/// Spelling does not matter where a server is likely to overlook it, since an endpoint with two
/// names would get its quota twice. This goes for templates and requests alike, and for the paths
/// that `each_other_path` tells apart:
///
/// | | |
/// |---|---|
/// | the query | never matters |
/// | `%7E`, `%2f` | unreserved characters (letters, digits, `-._~`) are decoded, other escapes are written in upper case ([RFC 3986, section 6.2.2]); so `%2F` does not separate segments |
/// | `é`, `"`, `{` | what a URI may contain in escaped form only is escaped |
/// | `100%` | a `%` that begins no escape is taken for a percent sign, `%25` |
/// | `/a/`, `//a`, `/a//b` | empty segments do not count, nor does a slash at the end |
/// | `/a/./b/../c` | dot segments are resolved, also those written `%2e`, after empty segments are gone; above the root there is only the root |
/// | no path at all | is `/` |
/// | `OPTIONS *`, `CONNECT host:443` | have no path, and match no template, not even `/{*rest}` |
/// | the letter case of paths and methods | matters |
/// | the host | is the one in the URI, otherwise the one in the `Host` header; without either, or if that is no host, only templates without a host match |
/// | `API.Example.`, `user@host`, `[0::1]` | the host's letter case does not matter, nor the dot that makes it absolute, nor who asks; an IPv6 address is the same in every spelling |
/// | no port | is the port of the scheme: 80 for `http`, 443 for `https`, either for a request that does not say its scheme |
///
/// `{*rest}` needs something to stand for: `/v1/{*rest}` matches neither `/v1` nor `/v1/`.
///
/// What this costs does not depend on how a hostile path is made: a path in normal form is not
/// copied, each segment of the templates is looked at once at most, and nothing goes deeper than
/// the longest template.
///
/// # Partitions
///
/// With [`partition_by_header`](Self::partition_by_header) or
/// [`partition_by`](Self::partition_by), each value (each API key, say) has buckets of its own for
/// endpoints, groups and overall; requests without a value share theirs. The values are taken for
/// secrets: they are hashed at once, with random numbers as the key, and never kept, shown, or put
/// into an error.
///
/// The partitions of a [`tier`](Self::tier) have other quotas: those of customers who pay, say.
///
/// # Panics
///
/// A configuration that contradicts itself is a bug, so all methods except
/// [`try_route`](Self::try_route) panic with a text that names the value and says what was
/// expected.
///
/// [RFC 3986, section 6.2.2]: https://www.rfc-editor.org/rfc/rfc3986#section-6.2.2
#[derive(Clone, Default)]
pub struct Endpoints {
    config: Arc<Config>,
}

#[derive(Clone, Default)]
pub(super) struct Config {
    /// One for each shape.
    pub(super) entries: Vec<Entry>,
    /// The same entries, as indices: adding n templates must not compare each with all others.
    by_shape: HashMap<Arc<Template>, usize>,
    pub(super) named: Vec<(Box<str>, Quota)>,
    pub(super) groups: Vec<(Box<str>, Quota)>,
    /// The names of `named` and of `groups`, which share one space since look-ups do not tell them apart.
    pub(super) names: HashSet<Box<str>>,
    pub(super) overall: Option<Quota>,
    pub(super) others: Option<Others>,
    pub(super) across_partitions: Option<Quota>,
    pub(super) partition_by: Option<PartitionRule>,
    pub(super) name_by: Option<NameBy>,
    pub(super) tiers: Vec<Tier>,
    pub(super) tier_by: Option<NameBy>,
    /// Here and not in the compiled form, so that a partition has the same hash in all layers of
    /// one stack.
    pub(super) hash_keys: HashKeys,
}

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) template: Arc<Template>,
    /// By `route`, otherwise by `group`: the name that the user knows it by.
    pub(super) written: Box<str>,
    /// From `route`.
    pub(super) quota: Option<Quota>,
    /// From `group`: an index into the groups.
    pub(super) group: Option<usize>,
}

#[derive(Clone)]
pub(super) enum Others {
    Each(Quota),
    All(Quota),
}

impl Endpoints {
    /// The name of the scope that [`overall`](Self::overall) limits. It is always there.
    pub const OVERALL: &'static str = name::OVERALL;

    /// The name of the scope that [`across_partitions`](Self::across_partitions) limits.
    pub const ACROSS_PARTITIONS: &'static str = name::ACROSS_PARTITIONS;

    /// The name of all buckets that [`each_other_path`](Self::each_other_path) makes.
    pub const EACH_OTHER_PATH: &'static str = name::EACH_OTHER_PATH;

    /// The name of the bucket that [`all_other_paths`](Self::all_other_paths) makes.
    pub const ALL_OTHER_PATHS: &'static str = name::ALL_OTHER_PATHS;

    /// The name of the buckets, one for each host and port, of the requests that match nothing,
    /// where neither [`each_other_path`](Self::each_other_path) nor
    /// [`all_other_paths`](Self::all_other_paths) takes them.
    pub const UNMATCHED: &'static str = name::UNMATCHED;

    /// No endpoint, and no limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the requests that match `template` a quota of their own.
    ///
    /// # Panics
    ///
    /// If `template` is invalid, or if one of the same shape has a quota already. See
    /// [`try_route`](Self::try_route) for templates that are not known to be good.
    #[track_caller]
    pub fn route(self, template: &str, quota: Quota) -> Self {
        or_panic(self.try_route(template, quota))
    }

    /// Like [`route`](Self::route), for templates that come from somewhere else.
    ///
    /// ```
    /// use tower_throttle::{Endpoints, Quota};
    ///
    /// let error = Endpoints::new().try_route("get /v1/models", Quota::per_second(1)).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     r#"template "get /v1/models": methods are case-sensitive: did you mean "GET"?"#,
    /// );
    /// ```
    ///
    /// # Errors
    ///
    /// If `template` is invalid, or if one of the same shape has a quota already.
    pub fn try_route(mut self, template: &str, quota: Quota) -> Result<Self, InvalidEndpoint> {
        let entry = self.entry(template)?;
        if entry.quota.is_some() {
            let as_template = entry.written.clone();
            return Err(InvalidEndpoint::template(
                template,
                Reason::Routed { as_template },
            ));
        }
        entry.written = template.into();
        entry.quota = Some(quota);
        Ok(self)
    }

    /// Adds an endpoint that requests choose by name, whatever their path: in their
    /// [`Terms`](crate::Terms::endpoint), with the extension [`EndpointName`](crate::EndpointName), or through
    /// [`name_by`](Self::name_by).
    ///
    /// # Panics
    ///
    /// If `name` is empty or contains a `/`, if it is one of the constants above, or if there is a
    /// named endpoint or a group of that name.
    #[track_caller]
    pub fn named(self, name: &str, quota: Quota) -> Self {
        or_panic(self.try_named(name, quota))
    }

    pub(crate) fn try_named(mut self, name: &str, quota: Quota) -> Result<Self, InvalidEndpoint> {
        self.claim_name(name)?;
        self.config().named.push((name.into(), quota));
        Ok(self)
    }

    /// Chooses a [named](Self::named) endpoint from the head of the request; `None` leaves the
    /// choice to the path. An [`EndpointName`](crate::EndpointName) on the request comes first.
    ///
    /// A name that is not configured is an error for that request.
    ///
    /// ```
    /// use tower_throttle::{Endpoints, Quota};
    ///
    /// let endpoints = Endpoints::new()
    ///     .named("batch", Quota::per_minute(10))
    ///     .name_by(|head| head.headers().contains_key("x-batch").then_some("batch"));
    /// # let _ = endpoints;
    /// ```
    ///
    /// # Panics
    ///
    /// If it was called before.
    #[track_caller]
    pub fn name_by<F, N>(mut self, name: F) -> Self
    where
        F: Fn(&RequestHead<'_>) -> Option<N> + Send + Sync + 'static,
        N: AsRef<str>,
    {
        let before = self.config().name_by.replace(NameBy::new(name));
        assert!(
            before.is_none(),
            "`name_by` was called twice: expected one closure"
        );
        self
    }

    /// Gives several endpoints a quota together, on top of their own.
    ///
    /// A template that no [`route`](Self::route) has, before or after, becomes an endpoint without
    /// a quota of its own: with a bucket for itself, but limited by the group only.
    ///
    /// # Panics
    ///
    /// If `name` is empty or contains a `/`, if it is one of the constants above, or if there is a
    /// named endpoint or a group of that name; if a template is invalid, or is in a group already
    /// (this one included).
    #[track_caller]
    pub fn group<'a>(
        self,
        name: &str,
        quota: Quota,
        templates: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        or_panic(self.try_group(name, quota, templates))
    }

    pub(crate) fn try_group<'a>(
        mut self,
        name: &str,
        quota: Quota,
        templates: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, InvalidEndpoint> {
        self.claim_name(name)?;
        let groups = &mut self.config().groups;
        let group = groups.len();
        groups.push((name.into(), quota));
        for template in templates {
            self.put_into_group(template, group)?;
        }
        Ok(self)
    }

    /// Limits everything together, on top of the narrower quotas: each partition by itself, if
    /// there are partitions.
    ///
    /// # Panics
    ///
    /// If it was called before.
    #[track_caller]
    pub fn overall(mut self, quota: Quota) -> Self {
        let before = self.config().overall.replace(quota);
        assert_once("overall", before.as_ref());
        self
    }

    /// Gives each path that matches no template a quota and a bucket of its own.
    ///
    /// Paths on different hosts or ports are different, the method does not matter. For APIs
    /// without identifiers in their paths; with them, every identifier would be an endpoint.
    ///
    /// # Panics
    ///
    /// If it or [`all_other_paths`](Self::all_other_paths) was called before.
    #[track_caller]
    pub fn each_other_path(mut self, quota: Quota) -> Self {
        let before = self.config().others.replace(Others::Each(quota));
        assert_only_others(before.as_ref());
        self
    }

    /// Gives all requests that match no template one quota and one bucket together.
    ///
    /// # Panics
    ///
    /// If it or [`each_other_path`](Self::each_other_path) was called before.
    #[track_caller]
    pub fn all_other_paths(mut self, quota: Quota) -> Self {
        let before = self.config().others.replace(Others::All(quota));
        assert_only_others(before.as_ref());
        self
    }

    /// Gives each value of a header buckets of its own; see [Partitions](Self#partitions). Of a
    /// header that is there more than once, the first value counts.
    ///
    /// ```
    /// use tower_throttle::{Endpoints, Quota};
    ///
    /// let endpoints = Endpoints::new()
    ///     .route("POST /v1/text-to-speech/{voice_id}", Quota::concurrent(4))
    ///     .partition_by_header("xi-api-key")
    ///     .across_partitions(Quota::per_second(100));
    /// # let _ = endpoints;
    /// ```
    ///
    /// # Panics
    ///
    /// If `name` is not the name of a header, or if there is another rule for partitions.
    #[track_caller]
    pub fn partition_by_header(self, name: &'static str) -> Self {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            panic!(
                "header {name:?}: expected the name of an HTTP header, such as \"authorization\""
            );
        };
        self.partition_by_header_name(name)
    }

    #[track_caller]
    pub(crate) fn partition_by_header_name(self, name: HeaderName) -> Self {
        self.partition(PartitionRule::Header(name))
    }

    /// Gives each value that the closure returns buckets of its own; see
    /// [Partitions](Self#partitions). `None` is a value like others.
    ///
    /// ```
    /// use tower_throttle::{Endpoints, Quota};
    ///
    /// #[derive(Clone, Hash)]
    /// struct Tenant(u64);
    ///
    /// let endpoints = Endpoints::new()
    ///     .overall(Quota::per_second(10))
    ///     .partition_by(|head| head.extensions().get::<Tenant>().cloned());
    /// # let _ = endpoints;
    /// ```
    ///
    /// # Panics
    ///
    /// If there is another rule for partitions.
    #[track_caller]
    pub fn partition_by<F, V>(self, value: F) -> Self
    where
        F: Fn(&RequestHead<'_>) -> Option<V> + Send + Sync + 'static,
        V: Hash,
    {
        self.partition(PartitionRule::closure(value))
    }

    /// Limits all partitions together, on top of what each allows. Without partitions it is the
    /// same as [`overall`](Self::overall), and counts beside it.
    ///
    /// # Panics
    ///
    /// If it was called before.
    #[track_caller]
    pub fn across_partitions(mut self, quota: Quota) -> Self {
        let before = self.config().across_partitions.replace(quota);
        assert_once("across_partitions", before.as_ref());
        self
    }

    pub(super) fn as_config(&self) -> &Config {
        &self.config
    }

    /// To change it. It is copied only if a clone shares it.
    pub(super) fn config(&mut self) -> &mut Config {
        Arc::make_mut(&mut self.config)
    }

    /// The one entry for all templates of this shape.
    fn entry(&mut self, template: &str) -> Result<&mut Entry, InvalidEndpoint> {
        let at = self.entry_at(template)?;
        Ok(&mut self.config().entries[at])
    }

    pub(super) fn entry_at(&mut self, template: &str) -> Result<usize, InvalidEndpoint> {
        let parsed = Template::parse(template)?;
        let Config {
            entries, by_shape, ..
        } = self.config();
        let at = by_shape.get(&parsed).copied().unwrap_or(entries.len());
        if at == entries.len() {
            let parsed = Arc::new(parsed);
            by_shape.insert(Arc::clone(&parsed), at);
            entries.push(Entry {
                template: parsed,
                written: template.into(),
                quota: None,
                group: None,
            });
        }
        Ok(at)
    }

    fn put_into_group(&mut self, template: &str, group: usize) -> Result<(), InvalidEndpoint> {
        let entry = self.entry(template)?;
        let Some(other) = entry.group else {
            entry.group = Some(group);
            return Ok(());
        };
        let as_template = entry.written.clone();
        let group = self.config().groups[other].0.clone();
        Err(InvalidEndpoint::template(
            template,
            Reason::Grouped { as_template, group },
        ))
    }

    /// For a group or a named endpoint.
    fn claim_name(&mut self, name: &str) -> Result<(), InvalidEndpoint> {
        name::check(name)?;
        if !self.config().names.insert(name.into()) {
            return Err(InvalidEndpoint::name(name, Reason::Taken));
        }
        Ok(())
    }

    #[track_caller]
    fn partition(mut self, rule: PartitionRule) -> Self {
        let before = self.config().partition_by.replace(rule);
        assert!(
            before.is_none(),
            "there is a rule for partitions already: expected one `partition_by_header` or `partition_by`"
        );
        self
    }
}

#[track_caller]
pub(super) fn or_panic<T>(result: Result<T, InvalidEndpoint>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn assert_once(method: &str, before: Option<&Quota>) {
    if let Some(before) = before {
        panic!("`{method}` was called twice: it is {before:?} already");
    }
}

#[track_caller]
fn assert_only_others(before: Option<&Others>) {
    let (method, quota) = match before {
        None => return,
        Some(Others::Each(quota)) => ("each_other_path", quota),
        Some(Others::All(quota)) => ("all_other_paths", quota),
    };
    panic!(
        "`{method}` was called before, with {quota:?}: expected one `each_other_path` or `all_other_paths`"
    );
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &*self.config;
        let mut out = f.debug_struct("Endpoints");
        out.field("routes", &Templates(config));
        if !config.named.is_empty() {
            out.field("named", &Map(&config.named));
        }
        if !config.groups.is_empty() {
            out.field("groups", &Map(&config.groups));
        }
        if let Some(quota) = &config.overall {
            out.field("overall", quota);
        }
        match &config.others {
            Some(Others::Each(quota)) => out.field("each_other_path", quota),
            Some(Others::All(quota)) => out.field("all_other_paths", quota),
            None => &mut out,
        };
        if let Some(rule) = &config.partition_by {
            out.field("partition_by", rule);
        }
        if let Some(quota) = &config.across_partitions {
            out.field("across_partitions", quota);
        }
        if let Some(closure) = &config.name_by {
            out.field("name_by", closure);
        }
        if !config.tiers.is_empty() {
            let tiers = Tiers {
                tiers: &config.tiers,
                written: &|at| &config.entries[at].written,
            };
            out.field("tiers", &tiers);
        }
        if let Some(closure) = &config.tier_by {
            out.field("tier_by", closure);
        }
        out.finish()
    }
}

struct Map<'a>(&'a [(Box<str>, Quota)]);

impl fmt::Debug for Map<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.0.iter().map(|(name, quota)| (name, quota));
        f.debug_map().entries(entries).finish()
    }
}

/// The templates with their quotas, or with the group that limits them instead.
struct Templates<'a>(&'a Config);

impl fmt::Debug for Templates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(config) = self;
        let mut map = f.debug_map();
        for entry in &config.entries {
            map.key(&entry.written);
            let group = entry.group.map(|group| &config.groups[group].0);
            match (&entry.quota, group) {
                (Some(quota), None) => map.value(quota),
                (quota, group) => {
                    let unlimited = Quota::unlimited();
                    let quota = quota.as_ref().unwrap_or(&unlimited);
                    map.value(&(quota, group))
                }
            };
        }
        map.finish()
    }
}

//! How the gateway runs: what the command line and the file say together.

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use toml::{Table, Value};
use tower_throttle::{config::Config, elevenlabs::Plan};

pub(crate) use super::command_line::HELP;
use super::{
    command_line::CommandLine,
    costs::{Api, Smallest},
    limits,
    settings::{self, Keys, Stamp},
    store::{self, Place, Sharing},
    upstream::Upstream,
};

/// How many requests may wait unless it is said.
const MAX_WAITING: i64 = 1000;

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    Run(Box<Options>),
    Help,
}

/// How to run.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) upstream: Upstream,
    pub(crate) listen: SocketAddr,
    /// The label of its metrics.
    pub(crate) name: String,
    pub(crate) limits: Config,
    pub(crate) sharing: Option<Sharing>,
    /// Its requests for speech are under the limit of their model's family.
    pub(crate) plan: Option<Plan>,
    /// Whose answers say what requests took.
    pub(crate) usage: Option<Api>,
    /// Whether bodies of requests say what they may take.
    pub(crate) estimate: bool,
    pub(crate) smallest: Smallest,
    /// The length of the longest body that is kept.
    pub(crate) keep: u64,
    pub(crate) http2: bool,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) timeout: Duration,
    pub(crate) patience: Patience,
    pub(crate) forwarded: bool,
    pub(crate) grace: Duration,
    source: Source,
    /// What was read, to see what has changed when it is read again.
    table: Table,
}

/// How long a caller may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// For the head of a request, from its first byte.
    pub(crate) header: Duration,
    /// Between two requests on a connection of HTTP/1.1.
    pub(crate) idle: Duration,
    /// For the next part of a request's body.
    pub(crate) body: Duration,
    /// To read something of its answer.
    pub(crate) read: Duration,
}

/// Where the options come from.
#[derive(Clone, Debug)]
struct Source {
    file: Option<PathBuf>,
    /// When the file was read.
    stamp: Option<Stamp>,
    command_line: Table,
}

impl Options {
    /// # Errors
    ///
    /// If the command line or the file say what cannot be done: the option or the key is named, and what was
    /// expected.
    pub(crate) fn parse<I>(args: I) -> Result<Command, lexopt::Error>
    where
        I: IntoIterator<Item: Into<OsString>>,
    {
        match CommandLine::parse(args)? {
            CommandLine::Help => Ok(Command::Help),
            CommandLine::Run { file, table } => {
                let source = Source {
                    file,
                    stamp: None,
                    command_line: table,
                };
                Ok(Command::Run(Box::new(Self::of(source)?)))
            }
        }
    }

    /// The file, if there is one.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        self.source.file.as_ref()
    }

    /// By what it is seen that the file has changed since.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.source.stamp
    }

    /// What the same file and the same command line say now.
    ///
    /// # Errors
    ///
    /// As at the beginning.
    pub(crate) fn again(&self) -> Result<Self, String> {
        Self::of(self.source.clone())
    }

    /// The settings that differ, and that a gateway that runs does not take over.
    pub(crate) fn fixed_that_differ(&self, other: &Self) -> Vec<String> {
        // They belong to services that have been made.
        const FIXED_LIMITS: [&str; 3] = ["max_wait", "max_waiting", "retry"];
        let limits = |options: &Self, key: &str| {
            let limits = options.table.get("limits")?.as_table()?;
            limits.get(key).cloned()
        };
        let mut differ = Vec::new();
        let keys = self.table.keys().chain(other.table.keys());
        for key in keys.filter(|key| *key != "limits") {
            if self.table.get(key) != other.table.get(key) && !differ.contains(key) {
                differ.push(key.clone());
            }
        }
        let fixed = FIXED_LIMITS.into_iter();
        let fixed = fixed.filter(|key| limits(self, key) != limits(other, key));
        differ.extend(fixed.map(|key| format!("limits.{key}")));
        differ
    }

    fn of(mut source: Source) -> Result<Self, String> {
        let Some(file) = source.file.clone() else {
            return Self::read(source.command_line.clone(), source);
        };
        // Before it is read: what comes after that is a change.
        source.stamp = settings::stamp(&file);
        let named = |error| format!("--config {}: {error}", file.display());
        let mut table = settings::file(&file).map_err(named)?;
        settings::over(&source.command_line, &mut table);
        Self::read(table, source).map_err(named)
    }

    fn read(table: Table, source: Source) -> Result<Self, String> {
        let mut keys = Keys::new(table.clone());
        let upstream = keys.parsed::<Upstream>("upstream", "a text such as \"https://HOST\"")?;
        let host = keys
            .text("host", "an IP address")?
            .as_deref()
            .map(address)
            .transpose()?;
        let port = keys.whole("port", "a port from 0 to 65535")?;
        let name = keys.text("name", "a text")?;
        let plan = keys.parsed::<Plan>("elevenlabs", "the name of a plan")?;
        let usage = keys.parsed("usage", "the name of an API")?;
        let estimate = keys.bool_or("estimate", true)?;
        let keep = keys.whole("keep", "a number of bytes")?;
        let http2 = keys.bool("http2")?;
        let ca = keys.text("ca", "the path of a file")?.map(PathBuf::from);
        let timeout = keys.some_time("timeout", Duration::from_secs(600))?;
        let patience = Patience {
            header: keys.some_time("header_timeout", Duration::from_secs(30))?,
            idle: keys.some_time("idle_timeout", Duration::from_secs(300))?,
            body: keys.some_time("body_timeout", Duration::from_secs(60))?,
            read: keys.some_time("read_timeout", Duration::from_secs(60))?,
        };
        let forwarded = keys.bool("forwarded")?;
        let grace = keys.time("grace", Duration::from_secs(10))?;
        let limits = keys.table("limits")?;
        let place = keys.parsed::<Place>("store", "a text such as \"redis://HOST\"")?;
        let fleet = keys.text("fleet", "a text")?;
        let away = keys.maybe_time("store_away")?;
        keys.end()?;
        let upstream = upstream
            .ok_or("--upstream is missing: expected http://HOST[:PORT] or https://HOST[:PORT]")?;
        if ca.is_some() && !upstream.is_https() {
            return Err(format!("--ca: expected an https upstream, not {upstream}"));
        }
        let sharing = sharing(place, fleet, away, &upstream)?;
        let limits = Value::Table(whole(limits, plan)?);
        let smallest = Smallest::of(&limits);
        let limits = limits.try_into::<Config>();
        Ok(Self {
            listen: SocketAddr::new(
                host.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                port.unwrap_or(0),
            ),
            name: name.unwrap_or_else(|| upstream.host().to_owned()),
            upstream,
            limits: limits.map_err(|error| format!("limits: {}", error.to_string().trim_end()))?,
            sharing,
            plan,
            usage,
            estimate,
            smallest,
            keep: keep.unwrap_or(1 << 20),
            http2,
            ca,
            timeout,
            patience,
            forwarded,
            grace,
            source,
            table,
        })
    }
}

fn sharing(
    place: Option<Place>,
    fleet: Option<String>,
    away: Option<Duration>,
    upstream: &Upstream,
) -> Result<Option<Sharing>, String> {
    if let Some(name) = &fleet {
        store::fleet(name).map_err(|error| format!("fleet: {error}"))?;
    }
    let is_server = matches!(place, Some(Place::Redis(_)));
    for (key, is_said) in [("fleet", fleet.is_some()), ("store_away", away.is_some())] {
        if is_said && !is_server {
            return Err(format!("{key}: expected with a store that is a server"));
        }
    }
    Ok(place.map(|place| Sharing {
        place,
        fleet: fleet.unwrap_or_else(|| upstream.host().to_owned()),
        away,
    }))
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| format!("host: expected an IP address, not {text:?}"))
}

/// The limits that were said, with the plan's and with the gateway's defaults.
fn whole(mut limits: Table, plan: Option<Plan>) -> Result<Table, String> {
    if let Some(plan) = plan {
        limits::of_plan(&mut limits, plan)?;
    }
    let max_waiting = limits.entry("max_waiting");
    max_waiting.or_insert(MAX_WAITING.into());
    for template in limits::templates(&limits) {
        limits::path_only(template).map_err(|error| format!("limits: {error}"))?;
    }
    Ok(limits)
}

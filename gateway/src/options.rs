//! The command line.

use std::{
    ffi::OsString,
    fmt::Display,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use http::HeaderName;
use lexopt::{Arg, Parser, ValueExt};
use tower_throttle::{Endpoints, Quota, elevenlabs::Plan};

use super::{
    limits::{self, once},
    upstream::Upstream,
};

pub(crate) const HELP: &str = "\
Keeps every program on a machine within the limits of one API account. Programs use the address that it
prints instead of the API's own; what would exceed a limit waits for its turn.

Usage: gateway --upstream URL [OPTIONS]

  --upstream URL        the API: http://HOST[:PORT] or https://HOST[:PORT]
  --host ADDRESS        the address to listen on [default: 127.0.0.1]
  --port N              the port to listen on; 0 for any that is free [default: 0]

Limits
  --limit \"[METHOD ]PATH=LIMIT\"
                        of an endpoint, such as \"POST /v1/text-to-speech/{voice_id}=concurrency:4,rps:5\";
                        {name} is one segment of the path, {*rest} all that follows. Can be repeated
  --others LIMIT        of all paths together that no --limit names
  --overall LIMIT       of everything together
  --concurrency N       the same as --overall concurrency:N
  --rps N               the same as --overall rps:N
  --elevenlabs PLAN     what ElevenLabs' plan allows for speech, by family of models: free, starter,
                        creator, pro, scale or business
  --partition-by NAME   each value of this request header has all these limits to itself
  LIMIT is a list, separated by commas, of: rps:N  rpm:N  per:N/TIME  concurrency:N
  margin:TIME (widens the windows)  head (a request no longer counts once its answer begins)

Waiting
  --max-waiting N       how many requests may wait for a limit; more are answered with 429 [default: 1000]
  --max-wait TIME       who would wait longer is answered with 429 [default: as long as the caller does]
                        A caller sets its own limit with the header x-gateway-max-wait: TIME
  --retry, --no-retry   whether what the API refuses all the same is sent again [default: --retry]
  --keep BYTES          bodies up to this length are kept for that; longer ones, and those that do not
                        say how long they are, are sent once [default: 1048576]
  TIME is a number and ms, s, m or h: 250ms, 1.5s, 2m

Upstream
  --http2               speaks HTTP/2 to the API, and HTTP/1.1 otherwise
  --ca FILE             trusts the certificates in this PEM file instead of Mozilla's
  --timeout TIME        how long the API may take to begin its answer; then 504 [default: 10m]
  --forwarded           tells the API who called: Forwarded and X-Forwarded-For, -Host, -Proto

  --grace TIME          how long requests may go on after an interrupt [default: 10s]
  -h, --help            prints this

Prints its address in one line, and runs until it is interrupted (Ctrl-C, SIGTERM). What it is doing, as
JSON: GET /__gateway__/status.
";

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
    pub(crate) endpoints: Endpoints,
    /// Its requests for speech are under the limit of their model's family.
    pub(crate) plan: Option<Plan>,
    pub(crate) max_waiting: usize,
    pub(crate) max_wait: Option<Duration>,
    pub(crate) retry: bool,
    /// The length of the longest body that is kept.
    pub(crate) keep: u64,
    pub(crate) http2: bool,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) timeout: Duration,
    pub(crate) forwarded: bool,
    pub(crate) grace: Duration,
}

impl Options {
    pub(crate) fn parse<I>(args: I) -> Result<Command, lexopt::Error>
    where
        I: IntoIterator<Item: Into<OsString>>,
    {
        let mut upstream = None;
        let mut host = IpAddr::from(Ipv4Addr::LOCALHOST);
        let mut port = 0;
        let mut limits = Limits::default();
        let mut max_waiting = 1000;
        let mut max_wait = None;
        let mut retry = true;
        let mut keep = 1 << 20;
        let mut http2 = false;
        let mut ca = None;
        let mut timeout = Duration::from_secs(600);
        let mut forwarded = false;
        let mut grace = Duration::from_secs(10);

        let mut parser = Parser::from_args(args);
        while let Some(arg) = parser.next()? {
            // Named before the value is taken, which `arg` borrows.
            let Arg::Long(name) = arg else {
                if arg == Arg::Short('h') {
                    return Ok(Command::Help);
                }
                return Err(arg.unexpected());
            };
            let name = name.to_owned();
            match name.as_str() {
                "help" => return Ok(Command::Help),
                "retry" => retry = true,
                "no-retry" => retry = false,
                "http2" => http2 = true,
                "forwarded" => forwarded = true,
                "ca" => ca = Some(PathBuf::from(parser.value()?)),
                "upstream" => upstream = Some(value(&mut parser, &name, str::parse)?),
                "host" => host = value(&mut parser, &name, parsed("an IP address"))?,
                "port" => port = value(&mut parser, &name, parsed("a port from 0 to 65535"))?,
                "limit" => value(&mut parser, &name, |text| limits.add(text))?,
                "others" => value(&mut parser, &name, |text| limits.others(text))?,
                "overall" => value(&mut parser, &name, |text| limits.overall(text))?,
                "concurrency" | "rps" => value(&mut parser, &name, |text| {
                    limits.overall_part(format!("{name}:{text}"))
                })?,
                "elevenlabs" => value(&mut parser, &name, |text| limits.elevenlabs(text))?,
                "partition-by" => value(&mut parser, &name, |text| limits.partition_by(text))?,
                "max-waiting" => max_waiting = value(&mut parser, &name, parsed("a whole number"))?,
                "max-wait" => max_wait = Some(value(&mut parser, &name, limits::time)?),
                "keep" => keep = value(&mut parser, &name, parsed("a number of bytes"))?,
                "timeout" => timeout = value(&mut parser, &name, limits::some_time)?,
                "grace" => grace = value(&mut parser, &name, limits::time)?,
                _ => return Err(Arg::Long(&name).unexpected()),
            }
        }
        let upstream: Upstream = upstream
            .ok_or("--upstream is missing: expected http://HOST[:PORT] or https://HOST[:PORT]")?;
        if ca.is_some() && !upstream.is_https() {
            return Err(format!("--ca: expected an https upstream, not {upstream}").into());
        }
        let (endpoints, plan) = limits.finish()?;
        Ok(Command::Run(Box::new(Self {
            upstream,
            listen: SocketAddr::new(host, port),
            endpoints,
            plan,
            max_waiting,
            max_wait,
            retry,
            keep,
            http2,
            ca,
            timeout,
            forwarded,
            grace,
        })))
    }
}

/// The value of an option, or an error that names the option.
fn value<T>(
    parser: &mut Parser,
    name: &str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, lexopt::Error> {
    let text = parser.value()?.string()?;
    read(&text).map_err(|error| format!("--{name}: {error}").into())
}

fn parsed<T: FromStr<Err: Display>>(what: &str) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        text.parse()
            .map_err(|error| format!("expected {what}, not {text:?}: {error}"))
    }
}

/// The limits, in whatever order they were given.
#[derive(Default)]
struct Limits {
    routes: Vec<(String, Quota)>,
    others: Option<Quota>,
    overall: Option<Quota>,
    /// Of `--concurrency` and `--rps`, to be read together.
    overall_parts: Vec<String>,
    plan: Option<Plan>,
    partition_by: Option<HeaderName>,
}

impl Limits {
    fn add(&mut self, text: &str) -> Result<(), String> {
        let Some((template, limit)) = text.rsplit_once('=') else {
            return Err(format!(
                "expected [METHOD ]PATH=LIMIT, such as \"POST /v1/speech=concurrency:4\", not {text:?}"
            ));
        };
        // All requests go to one host, so a template that begins with one is a slash forgotten.
        let path = template.rsplit(' ').next().unwrap_or_default();
        if !path.starts_with('/') {
            return Err(format!(
                "expected a path that begins with a slash, such as \"POST /v1/speech\", not {template:?}"
            ));
        }
        self.routes.push((template.into(), limits::quota(limit)?));
        Ok(())
    }

    fn others(&mut self, text: &str) -> Result<(), String> {
        once(&mut self.others, limits::quota(text)?)
    }

    fn overall(&mut self, text: &str) -> Result<(), String> {
        once(&mut self.overall, limits::quota(text)?)
    }

    /// `concurrency:N` or `rps:N`.
    fn overall_part(&mut self, part: String) -> Result<(), String> {
        limits::quota(&part)?;
        let kind = |part: &str| part.split(':').next().map(str::to_owned);
        let twice = |before: &String| kind(before) == kind(&part);
        if self.overall_parts.iter().any(twice) {
            return Err("expected only once".into());
        }
        self.overall_parts.push(part);
        Ok(())
    }

    fn elevenlabs(&mut self, text: &str) -> Result<(), String> {
        let plan = text.parse::<Plan>().map_err(|error| error.to_string())?;
        once(&mut self.plan, plan)
    }

    fn partition_by(&mut self, text: &str) -> Result<(), String> {
        let name = HeaderName::from_str(text)
            .map_err(|error| format!("expected the name of a header, not {text:?}: {error}"))?;
        once(&mut self.partition_by, name)
    }

    fn finish(self) -> Result<(Endpoints, Option<Plan>), String> {
        let mut endpoints = self.plan.map_or_else(Endpoints::new, Plan::endpoints);
        for (template, quota) in self.routes {
            if self.plan.is_some() && template.contains("/v1/text-to-speech/") {
                return Err(format!(
                    "--limit: {template:?} has its limit from --elevenlabs: expected only one of the two"
                ));
            }
            endpoints = endpoints
                .try_route(&template, quota)
                .map_err(|error| format!("--limit: {error}"))?;
        }
        if let Some(quota) = self.others {
            endpoints = endpoints.all_other_paths(quota);
        }
        let overall = match (self.overall, &self.overall_parts[..]) {
            (Some(_), [_, ..]) => {
                return Err("--overall: expected alone, without --concurrency and --rps".into());
            }
            (None, parts @ [_, ..]) => Some(limits::quota(&parts.join(","))?),
            (overall, []) => overall,
        };
        if let Some(quota) = overall {
            endpoints = endpoints.overall(quota);
        }
        if let Some(name) = self.partition_by {
            endpoints = endpoints.partition_by(move |head| head.headers().get(&name).cloned());
        }
        Ok((endpoints, self.plan))
    }
}

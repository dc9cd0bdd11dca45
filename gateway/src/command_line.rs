//! The command line, as the same table that a file holds.

use std::{
    ffi::OsString,
    fmt::Display,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use http::HeaderName;
use lexopt::{Arg, Parser, ValueExt};
use toml::{Table, Value};
use tower_throttle::{Endpoints, Quota, elevenlabs::Plan};

use super::{
    costs::Api,
    limits,
    store::{self, Place},
    upstream::Upstream,
};

pub(crate) const HELP: &str = "\
Keeps every program on a machine within the limits of one API account. Programs use the address that it
prints instead of the API's own; what would exceed a limit waits for its turn.

Usage: gateway --upstream URL [OPTIONS]
       gateway --config FILE [OPTIONS]

  --config FILE         reads settings from this TOML file, and its limits again whenever it changes, and at
                        SIGHUP. What is said here goes before what the file says
  --upstream URL        the API: http://HOST[:PORT] or https://HOST[:PORT]
  --host ADDRESS        the address to listen on [default: 127.0.0.1]
  --port N              the port to listen on; 0 for any that is free [default: 0]
  --name NAME           the label `layer` of the metrics [default: the upstream's host]

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
  or as in a file: \"500/min, 30_000 tokens/min, 4 at once\"

  --store STORE         where the limits are kept: redis://[USER:PASSWORD@]HOST[:PORT][/DB] or redis+unix:///PATH,
                        for gateways that have one quota together; file:PATH, for windows that outlast a
                        restart [default: this process]
  --fleet NAME          gateways of the same name share their limits [default: the upstream's host]
  --store-away TIME     who has waited so long for a server that does not answer goes by this gateway's own
                        limits [default: requests wait]

Costs
  --usage API           reads from answers what requests took, for limits in tokens or credits: openai,
                        anthropic, gemini or elevenlabs
  --no-estimate         takes the average for a request that is not answered yet, and not what its body says

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

Callers
  --header-timeout TIME how long the head of a request may take from its first byte [default: 30s]
  --idle-timeout TIME   how long a connection of HTTP/1.1 may have no request [default: 5m]
  --body-timeout TIME   how long the next part of a request's body may take; then 408 [default: 1m]
  --read-timeout TIME   how long a caller may read nothing of its answer; then it is cut [default: 1m]

  --grace TIME          how long requests may go on after an interrupt [default: 10s]
  -h, --help            prints this

Prints its address in one line, and runs until it is interrupted (Ctrl-C, SIGTERM). What it is doing:
GET /__gateway__/status, /__gateway__/health and /__gateway__/metrics.
";

/// What a command line asks for.
#[derive(Debug)]
pub(crate) enum CommandLine {
    Run { file: Option<PathBuf>, table: Table },
    Help,
}

impl CommandLine {
    pub(crate) fn parse<I>(args: I) -> Result<Self, lexopt::Error>
    where
        I: IntoIterator<Item: Into<OsString>>,
    {
        let mut said = Said::default();
        let mut parser = Parser::from_args(args);
        while let Some(arg) = parser.next()? {
            // Named before the value is taken, which `arg` borrows.
            let Arg::Long(name) = arg else {
                if arg == Arg::Short('h') {
                    return Ok(Self::Help);
                }
                return Err(arg.unexpected());
            };
            let name = name.to_owned();
            match name.as_str() {
                "help" => return Ok(Self::Help),
                "config" => said.file = Some(PathBuf::from(parser.value()?)),
                "ca" => {
                    let file = PathBuf::from(parser.value()?);
                    said.top("ca", path(&file).map_err(|error| named(&name, error))?);
                }
                "retry" => said.limit("retry", Table::new()),
                "no-retry" => said.limit("retry", false),
                "http2" => said.top("http2", true),
                "forwarded" => said.top("forwarded", true),
                "no-estimate" => said.top("estimate", false),
                _ => {
                    if !VALUED.contains(&name.as_str()) {
                        return Err(Arg::Long(&name).unexpected());
                    }
                    let text = parser.value()?.string()?;
                    said.value(&name, &text)
                        .map_err(|error| named(&name, error))?;
                }
            }
        }
        said.finish()
    }
}

/// The options that have a value which is a text.
const VALUED: [&str; 24] = [
    "upstream",
    "host",
    "port",
    "name",
    "limit",
    "others",
    "overall",
    "concurrency",
    "rps",
    "elevenlabs",
    "partition-by",
    "usage",
    "max-waiting",
    "max-wait",
    "keep",
    "timeout",
    "header-timeout",
    "idle-timeout",
    "body-timeout",
    "read-timeout",
    "grace",
    "store",
    "fleet",
    "store-away",
];

fn named(name: &str, error: impl Display) -> lexopt::Error {
    format!("--{name}: {error}").into()
}

fn path(file: &Path) -> Result<&str, String> {
    file.to_str()
        .ok_or_else(|| format!("expected a path in UTF-8, not {}", file.display()))
}

/// What has been said so far. Each value is checked where it is said, so that an error names the option.
#[derive(Default)]
struct Said {
    file: Option<PathBuf>,
    table: Table,
    limits: Table,
    routes: Table,
    /// The same routes, to find those of one shape.
    endpoints: Endpoints,
    /// Of `--concurrency` and `--rps`, to be read together.
    overall_parts: Vec<String>,
}

impl Said {
    fn top(&mut self, key: &str, value: impl Into<Value>) {
        self.table.insert(key.into(), value.into());
    }

    fn limit(&mut self, key: &str, value: impl Into<Value>) {
        self.limits.insert(key.into(), value.into());
    }

    /// A limit that can be said once.
    fn limit_once(&mut self, key: &str, value: impl Into<Value>) -> Result<(), String> {
        match self.limits.insert(key.into(), value.into()) {
            None => Ok(()),
            Some(_) => Err("expected only once".into()),
        }
    }

    fn value(&mut self, name: &str, text: &str) -> Result<(), String> {
        match name {
            "upstream" => {
                text.parse::<Upstream>()?;
                self.top(name, text);
            }
            "host" => {
                parsed::<IpAddr>(text, "an IP address")?;
                self.top(name, text);
            }
            "port" => self.top(
                name,
                i64::from(parsed::<u16>(text, "a port from 0 to 65535")?),
            ),
            "name" => self.top(name, text),
            "limit" => self.route(text)?,
            "others" => self.limit_once("all_other_paths", quota(text)?)?,
            "overall" => self.limit_once("overall", quota(text)?)?,
            "concurrency" | "rps" => self.overall_part(format!("{name}:{text}"))?,
            "elevenlabs" => {
                text.parse::<Plan>().map_err(|error| error.to_string())?;
                self.top(name, text);
            }
            "partition-by" => {
                HeaderName::from_str(text).map_err(|error| {
                    format!("expected the name of a header, not {text:?}: {error}")
                })?;
                self.limit_once("partition_by_header", text)?;
            }
            "usage" => {
                text.parse::<Api>()?;
                self.top(name, text);
            }
            "max-waiting" => {
                let n = parsed::<u32>(text, "a whole number")?;
                self.limit("max_waiting", i64::from(n));
            }
            "max-wait" => self.limit("max_wait", written(limits::time(text)?)),
            "keep" => {
                let bytes = parsed::<u32>(text, "a number of bytes")?;
                self.top(name, i64::from(bytes));
            }
            "grace" | "store-away" => {
                limits::time(text)?;
                self.top(&name.replace('-', "_"), text);
            }
            "store" => {
                text.parse::<Place>()?;
                self.top(name, text);
            }
            "fleet" => {
                store::fleet(text)?;
                self.top(name, text);
            }
            // The timeouts.
            _ => {
                limits::some_time(text)?;
                self.top(&name.replace('-', "_"), text);
            }
        }
        Ok(())
    }

    fn route(&mut self, text: &str) -> Result<(), String> {
        let Some((template, limit)) = text.rsplit_once('=') else {
            return Err(format!(
                "expected [METHOD ]PATH=LIMIT, such as \"POST /v1/speech=concurrency:4\", not {text:?}"
            ));
        };
        limits::path_only(template)?;
        let quota = limits::quota(limit)?;
        let endpoints = std::mem::take(&mut self.endpoints);
        self.endpoints = endpoints
            .try_route(template, quota.clone())
            .map_err(|error| error.to_string())?;
        self.routes
            .insert(template.into(), quota.to_string().into());
        Ok(())
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

    fn finish(mut self) -> Result<CommandLine, lexopt::Error> {
        if !self.overall_parts.is_empty() {
            let parts = self.overall_parts.join(",");
            let overall = quota(&parts)?;
            self.limit_once("overall", overall)
                .map_err(|_| "--overall: expected alone, without --concurrency and --rps")?;
        }
        if !self.routes.is_empty() {
            let routes = std::mem::take(&mut self.routes);
            self.limit("routes", routes);
        }
        if !self.limits.is_empty() {
            let limits = std::mem::take(&mut self.limits);
            self.top("limits", limits);
        }
        Ok(CommandLine::Run {
            file: self.file,
            table: self.table,
        })
    }
}

/// A limit as a file has it.
fn quota(text: &str) -> Result<String, String> {
    limits::quota(text).map(|quota: Quota| quota.to_string())
}

/// A time as the library reads it.
fn written(time: Duration) -> String {
    format!("{}ns", time.as_nanos())
}

fn parsed<T: FromStr<Err: Display>>(text: &str, what: &str) -> Result<T, String> {
    text.parse()
        .map_err(|error| format!("expected {what}, not {text:?}: {error}"))
}

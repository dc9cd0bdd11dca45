//! The command line.

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use lexopt::{Arg, Parser, ValueExt};
use tower_throttle_mock::{
    Limit, Work,
    elevenlabs::{Audio, Dialect, MockBuilder, MockElevenLabs, Voice},
};

use super::values::{Key, duration, key, number, pair, positive, queue, times};

pub(crate) const HELP: &str = "\
A mock ElevenLabs to point any client at. Prints its address, and runs until it is interrupted.

Usage: mock_server [OPTIONS]

  --port N             where to listen; 0 is a free port [default: 0]
  --host ADDRESS       on which address [default: 127.0.0.1]
  --seed N             the seed of all draws [default: 0]

Who is let in, and what they have:
  --plan PLAN          free, starter, creator, pro, scale or business: its concurrency for each family
                       of models, its credits, its voices [default: the demo's limits, 5 per second
                       and 4 at once, and no end of credits]
  --credits N          how many credits are left
  --require-key        nobody is let in without a key; any key will do
  --key KEY=PLAN[,..]  lets this key in, and nobody without one; after the plan there can be
                       workspace=NAME, credits=N, without=PERMISSION, unusual-activity and disabled
  --voice ID=NAME      adds a voice; with --library-voice ID=NAME one that is not for free plans
  --known-voices-only  only voices speak that there are

Limits of speech:
  --concurrency N      at most N at once, instead of what the plan allows
  --rps N              at most N in a second
  --queue TIME:N       N wait who are above the concurrency, and then take so much longer
  --refusal-after TIME a refusal takes so long
  --retry-after TIME   put on every refusal; \"truthful\" says when the window has room

Behaviour:
  --work TIME[:TIME]   how long speech takes, or between which times [default: 200ms:400ms]
  --clone-work TIME[:TIME]
                       how long cloning takes [default: 800ms:10200ms]
  --realistic          speech takes as long as it really does
  --latency TIME       requests arrive so much later
  --jitter TIME        requests arrive later by up to this
  --audio KIND         text: AUDIO(...), or silence: in the format that was asked for [default: text]
  --dialect NAME       current or legacy: how refusals are worded [default: current]
  --concurrency-headers
                       on successes without a plan, too

  -h, --help           prints this

TIME is a number with a unit: 50ms, 1.5s. While it runs, /__mock__/ has the score card, faults and
more: see the documentation of tower_throttle_mock::elevenlabs.

Exit code: 0 if it was interrupted, 1 if it cannot listen, 2 for bad arguments.
";

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    Run(Box<Options>),
    Help,
}

/// What to run, and where.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) address: SocketAddr,
    pub(crate) mock: MockBuilder,
}

/// What several options say together.
#[derive(Debug)]
struct Speech {
    concurrency: Option<usize>,
    rps: Option<usize>,
    work: Work,
    realistic: bool,
}

impl Options {
    pub(crate) fn parse<I>(args: I) -> Result<Command, lexopt::Error>
    where
        I: IntoIterator<Item: Into<OsString>>,
    {
        let (mut host, mut port) = (IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let mut mock = MockElevenLabs::builder();
        let mut speech = Speech {
            concurrency: None,
            rps: None,
            work: Work::uniform(Duration::from_millis(200)..Duration::from_millis(400)),
            realistic: false,
        };
        let mut keys: Vec<Key> = Vec::new();
        let mut parser = Parser::from_args(args);
        while let Some(arg) = parser.next()? {
            let Arg::Long(name) = arg else {
                return match arg {
                    Arg::Short('h') => Ok(Command::Help),
                    _ => Err(arg.unexpected()),
                };
            };
            let name = format!("--{name}");
            let name = name.as_str();
            match name {
                "--help" => return Ok(Command::Help),
                "--require-key" => mock = mock.require_key(),
                "--known-voices-only" => mock = mock.known_voices_only(),
                "--concurrency-headers" => mock = mock.concurrency_headers(),
                "--realistic" => speech.realistic = true,
                _ => {
                    if !TAKES_VALUE.contains(&name) {
                        return Err(Arg::Long(&name[2..]).unexpected());
                    }
                    let value = parser.value()?.string()?;
                    match name {
                        "--port" => port = number(name, &value)?,
                        "--host" => {
                            host = value.parse().map_err(|_| {
                                format!("{name}: expected an IP address, not {value:?}")
                            })?;
                        }
                        "--key" => {
                            let key = key(name, &value)?;
                            check_key(name, &keys, &key)?;
                            keys.push(key);
                        }
                        _ => {}
                    }
                    mock = set(mock, &mut speech, name, &value)?;
                }
            }
        }
        for Key { value, account, .. } in keys {
            mock = mock.key(value, account);
        }
        Ok(Command::Run(Box::new(Self {
            address: SocketAddr::new(host, port),
            mock: speech.apply(mock),
        })))
    }
}

/// Whether a key can be let in beside the others.
fn check_key(option: &str, known: &[Key], new: &Key) -> Result<(), lexopt::Error> {
    for known in known {
        if known.value == new.value {
            return Err(format!("{option}: the key {:?} is there twice", new.value).into());
        }
        if known.workspace.is_some() && known.workspace == new.workspace && known.plan != new.plan {
            let (name, one, other) = (known.workspace.as_deref(), known.plan, new.plan);
            let name = name.unwrap_or_default();
            let message = format!(
                "{option}: expected one plan for the workspace {name:?}, not {one} and {other}"
            );
            return Err(message.into());
        }
    }
    Ok(())
}

pub(crate) const TAKES_VALUE: [&str; 19] = [
    "--port",
    "--host",
    "--seed",
    "--plan",
    "--credits",
    "--key",
    "--voice",
    "--library-voice",
    "--concurrency",
    "--rps",
    "--queue",
    "--refusal-after",
    "--retry-after",
    "--work",
    "--clone-work",
    "--latency",
    "--jitter",
    "--audio",
    "--dialect",
];

fn set(
    mock: MockBuilder,
    speech: &mut Speech,
    name: &str,
    value: &str,
) -> Result<MockBuilder, lexopt::Error> {
    Ok(match name {
        "--seed" => mock.seed(number(name, value)?),
        "--plan" => mock.plan(value.parse().map_err(|error| format!("{name}: {error}"))?),
        "--credits" => mock.credits(number(name, value)?),
        "--voice" => {
            let (id, voice) = pair(name, value, "ID=NAME")?;
            mock.voice(Voice::cloned(id, voice))
        }
        "--library-voice" => {
            let (id, voice) = pair(name, value, "ID=NAME")?;
            mock.voice(Voice::library(id, voice))
        }
        "--concurrency" => {
            speech.concurrency = Some(positive(name, value)?);
            mock
        }
        "--rps" => {
            speech.rps = Some(positive(name, value)?);
            mock
        }
        "--queue" => {
            let (delay, depth) = queue(name, value)?;
            mock.queue(delay, depth)
        }
        "--refusal-after" => mock.refusal_after(duration(name, value)?),
        "--retry-after" if value == "truthful" => mock.truthful_retry_after(),
        "--retry-after" => mock.retry_after(duration(name, value)?),
        "--work" => {
            speech.work = times(name, value)?.into();
            mock
        }
        "--clone-work" => mock.clone_work(times(name, value)?.into()),
        "--latency" => mock.latency(duration(name, value)?),
        "--jitter" => mock.jitter(Duration::ZERO..duration(name, value)?),
        "--audio" => mock.audio(match value {
            "text" => Audio::Text,
            "silence" => Audio::Silence,
            _ => return Err(format!("{name}: expected text or silence, not {value:?}").into()),
        }),
        "--dialect" => mock.dialect(match value {
            "current" => Dialect::Current,
            "legacy" => Dialect::Legacy,
            _ => return Err(format!("{name}: expected current or legacy, not {value:?}").into()),
        }),
        _ => mock,
    })
}

impl Speech {
    fn apply(self, mock: MockBuilder) -> MockBuilder {
        let mut limit = self.rps.map_or_else(Limit::unlimited, Limit::rps);
        if let Some(n) = self.concurrency {
            limit = limit.concurrency(n);
        }
        let mock = if self.rps.is_some() || self.concurrency.is_some() {
            mock.tts(limit, self.work)
        } else {
            mock.work(self.work)
        };
        if self.realistic {
            mock.realistic_times()
        } else {
            mock
        }
    }
}

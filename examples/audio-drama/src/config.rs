//! What the user asks for: on the command line, in the environment, or in a `.env` file. The earlier of
//! these counts.

use std::{
    collections::HashMap,
    env,
    ffi::{OsStr, OsString},
    fmt,
    net::IpAddr,
    num::NonZeroUsize,
    path::Path,
    str::FromStr,
};

use http::HeaderValue;
use lexopt::prelude::*;
use tower_throttle::elevenlabs::{InvalidMaxConcurrent, MaxConcurrent, Plan};

use crate::{
    base_url::{BaseUrl, InvalidBaseUrl},
    speech::{ElevenLabs, Narrator},
    studio::BATCH,
};

/// The document's port.
pub const PORT: u16 = 8000;

/// A voice that every account has.
pub const VOICE: &str = "21m00Tcm4TlvDq8ikWAM";

/// Of its family the free plan allows four requests at once; of the others, two.
pub const MODEL: &str = "eleven_flash_v2_5";

/// A voice and a model by the names that OpenAI's protocol has for them.
const NARRATOR_VOICE: &str = "alloy";
const NARRATOR_MODEL: &str = "tts-1";

/// What to print for `--help`.
pub const HELP: &str = "\
Turns scripts into audio dramas: POST /generate {\"text\": ...} answers with a zip of audio files.

Usage: audio-drama [OPTIONS]

  --host ADDRESS        where to listen: 127.0.0.1 (and ::1) by default
  --port PORT           8000 by default; 0 for any that is free
  --plan PLAN           free, starter, creator, pro, scale or business, if the API is not to be asked
  --elevenlabs-url URL  who voices dialogue (or ELEVENLABS_API_BASE_URL): a mock by default
  --narration-url URL   who voices narration, by POST /v1/audio/speech (or NARRATION_API_BASE_URL):
                        a mock by default
  --voice ID            the voice of dialogue (or ELEVENLABS_VOICE_ID)
  --model ID            the model of dialogue, eleven_flash_v2_5 by default
  --batch N             how many segments of a script are taken in at once, 10 by default
  --demo                shows on mocks what it does, and ends; takes no other option
  --help

Environment, or a file .env in the current directory:
  ELEVENLABS_MAX_CONCURRENT   how many segments of dialogue at once, 3 by default
  ELEVENLABS_API_KEY          needed with --elevenlabs-url
  NARRATION_API_KEY           if the narrator wants one
  RUST_LOG                    what is logged: error, warn, info (default), debug or trace
";

/// What to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Serve until interrupted.
    Serve(Box<Config>),
    /// Show on mocks what it does, with this setting, and end.
    Demo(MaxConcurrent),
    /// Print [`HELP`].
    Help,
}

/// How to serve.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; on both of the machine's own addresses if nobody says.
    pub host: Option<IpAddr>,
    /// On which port; 0 for any that is free.
    pub port: u16,
    /// The plan, if the API is not to be asked.
    pub plan: Option<Plan>,
    /// How many segments of dialogue at once.
    pub setting: MaxConcurrent,
    /// How many segments of a script are taken in at once.
    pub batch: NonZeroUsize,
    /// Who voices dialogue; a mock if nobody says.
    pub elevenlabs: Option<ElevenLabs>,
    /// Who voices narration; a mock if nobody says.
    pub narrator: Option<Narrator>,
}

impl Config {
    /// On a free port, with mocks.
    pub fn with_mocks(setting: MaxConcurrent) -> Self {
        Self {
            host: None,
            port: 0,
            plan: None,
            setting,
            batch: BATCH,
            elevenlabs: None,
            narrator: None,
        }
    }
}

/// Why there is nothing that can be done.
#[derive(Debug)]
pub enum InvalidConfig {
    /// The command line is not understood.
    Arguments(lexopt::Error),
    /// `.env` is not understood, or cannot be read.
    DotEnv(dotenvy::Error),
    /// The setting is not a positive integer.
    Setting(InvalidMaxConcurrent),
    /// What this option or variable says makes no sense.
    Value {
        /// The option or variable.
        name: &'static str,
        /// What is wrong with its value.
        why: String,
    },
    /// An address was given, and no key.
    NoKey,
}

/// Variables of the environment, or else of a `.env` file.
#[derive(Debug, Default)]
pub struct Variables {
    environment: HashMap<OsString, OsString>,
    file: HashMap<String, String>,
}

impl Variables {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self {
            environment: env::vars_os().collect(),
            file: HashMap::new(),
        }
    }

    /// These and no others.
    pub fn only<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let variables = variables.into_iter();
        Self {
            environment: variables.map(|(k, v)| (k.into(), v.into())).collect(),
            file: HashMap::new(),
        }
    }

    /// With those of a file for what is not set, if the file is there.
    ///
    /// They are not put into the environment, which belongs to the whole process.
    ///
    /// # Errors
    ///
    /// If the file is there and cannot be read, or has something else in it.
    pub fn and_file(mut self, path: &Path) -> Result<Self, InvalidConfig> {
        self.file = match dotenvy::from_path_iter(path) {
            Ok(lines) => lines.collect::<Result<_, _>>(),
            Err(error) if error.not_found() => Ok(HashMap::new()),
            Err(error) => Err(error),
        }
        .map_err(InvalidConfig::DotEnv)?;
        Ok(self)
    }

    fn get(&self, name: &'static str) -> Result<Option<String>, InvalidConfig> {
        let Some(value) = self.environment.get(OsStr::new(name)) else {
            return Ok(self.file.get(name).cloned());
        };
        let value = value.to_str().ok_or_else(|| InvalidConfig::Value {
            name,
            why: format!("{} is no text", value.display()),
        })?;
        Ok(Some(value.to_owned()))
    }
}

impl Command {
    /// Reads the command line, without the name of the program, and the variables.
    ///
    /// # Errors
    ///
    /// If either makes no sense.
    pub fn read(
        arguments: impl IntoIterator<Item = OsString>,
        variables: &Variables,
    ) -> Result<Self, InvalidConfig> {
        let mut options = Options::default();
        if options.parse(arguments)? {
            return Ok(Self::Help);
        }
        let setting = match variables.get(MaxConcurrent::VARIABLE)? {
            Some(value) => MaxConcurrent::parse(&value).map_err(InvalidConfig::Setting)?,
            None => MaxConcurrent::DEFAULT,
        };
        if options.demo {
            let alone = Options {
                demo: true,
                ..Options::default()
            };
            if options != alone {
                return Err(InvalidConfig::Value {
                    name: "--demo",
                    why: "it takes no other option: it is about mocks".to_owned(),
                });
            }
            return Ok(Self::Demo(setting));
        }
        Ok(Self::Serve(Box::new(Config {
            setting,
            elevenlabs: options.elevenlabs(variables)?,
            narrator: options.narrator(variables)?,
            host: options.host,
            port: options.port.unwrap_or(PORT),
            plan: options.plan,
            batch: options.batch.unwrap_or(BATCH),
        })))
    }
}

#[derive(Default, PartialEq)]
struct Options {
    host: Option<IpAddr>,
    port: Option<u16>,
    plan: Option<Plan>,
    batch: Option<NonZeroUsize>,
    elevenlabs_url: Option<String>,
    narration_url: Option<String>,
    voice: Option<String>,
    model: Option<String>,
    demo: bool,
}

impl Options {
    /// Returns whether help is wanted.
    fn parse(
        &mut self,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<bool, InvalidConfig> {
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next().map_err(InvalidConfig::Arguments)? {
            match argument {
                Long("help") | Short('h') => return Ok(true),
                Long("demo") => self.demo = true,
                Long("host") => self.host = Some(parsed("--host", &value(&mut parser)?)?),
                Long("port") => self.port = Some(parsed("--port", &value(&mut parser)?)?),
                Long("plan") => self.plan = Some(parsed("--plan", &value(&mut parser)?)?),
                Long("batch") => self.batch = Some(parsed("--batch", &value(&mut parser)?)?),
                Long("elevenlabs-url") => self.elevenlabs_url = Some(value(&mut parser)?),
                Long("narration-url") => self.narration_url = Some(value(&mut parser)?),
                Long("voice") => self.voice = Some(value(&mut parser)?),
                Long("model") => self.model = Some(value(&mut parser)?),
                other => return Err(InvalidConfig::Arguments(other.unexpected())),
            }
        }
        Ok(false)
    }

    fn elevenlabs(&self, variables: &Variables) -> Result<Option<ElevenLabs>, InvalidConfig> {
        let url = match &self.elevenlabs_url {
            Some(url) => Some(("--elevenlabs-url", url.clone())),
            None => variables
                .get("ELEVENLABS_API_BASE_URL")?
                .map(|url| ("ELEVENLABS_API_BASE_URL", url)),
        };
        let voice = match &self.voice {
            Some(voice) => voice.clone(),
            None => variables
                .get("ELEVENLABS_VOICE_ID")?
                .unwrap_or_else(|| VOICE.to_owned()),
        };
        if voice.is_empty()
            || !voice
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        {
            return Err(InvalidConfig::Value {
                name: "the voice's id",
                why: format!("{voice:?} has something else in it than letters and digits"),
            });
        }
        let Some(url) = url else {
            return Ok(None);
        };
        let key = variables
            .get("ELEVENLABS_API_KEY")?
            .filter(|key| !key.is_empty())
            .ok_or(InvalidConfig::NoKey)?;
        Ok(Some(ElevenLabs {
            base: base_url(url)?,
            key: secret("ELEVENLABS_API_KEY", &key)?,
            voice,
            model: self.model.clone().unwrap_or_else(|| MODEL.to_owned()),
        }))
    }

    fn narrator(&self, variables: &Variables) -> Result<Option<Narrator>, InvalidConfig> {
        let url = match &self.narration_url {
            Some(url) => ("--narration-url", url.clone()),
            None => match variables.get("NARRATION_API_BASE_URL")? {
                Some(url) => ("NARRATION_API_BASE_URL", url),
                None => return Ok(None),
            },
        };
        let key = variables.get("NARRATION_API_KEY")?;
        let key = key.map(|key| secret("NARRATION_API_KEY", &format!("Bearer {key}")));
        Ok(Some(Narrator {
            base: base_url(url)?,
            authorization: key.transpose()?,
            voice: NARRATOR_VOICE.to_owned(),
            model: NARRATOR_MODEL.to_owned(),
        }))
    }
}

impl ElevenLabs {
    /// For the mock, which takes any key.
    pub fn mock(base: BaseUrl) -> Self {
        Self {
            base,
            key: HeaderValue::from_static("mock"),
            voice: VOICE.to_owned(),
            model: MODEL.to_owned(),
        }
    }
}

impl Narrator {
    /// For the mock, which wants no key.
    pub fn mock(base: BaseUrl) -> Self {
        Self {
            base,
            authorization: None,
            voice: NARRATOR_VOICE.to_owned(),
            model: NARRATOR_MODEL.to_owned(),
        }
    }
}

fn value(parser: &mut lexopt::Parser) -> Result<String, InvalidConfig> {
    let value = parser.value().and_then(ValueExt::string);
    value.map_err(InvalidConfig::Arguments)
}

fn parsed<T: FromStr<Err: fmt::Display>>(
    name: &'static str,
    text: &str,
) -> Result<T, InvalidConfig> {
    text.parse().map_err(|error| InvalidConfig::Value {
        name,
        why: format!("{text:?}: {error}"),
    })
}

fn base_url((name, text): (&'static str, String)) -> Result<BaseUrl, InvalidConfig> {
    // Says itself what the text is, without the passwords in it.
    text.parse()
        .map_err(|error: InvalidBaseUrl| InvalidConfig::Value {
            name,
            why: error.to_string(),
        })
}

fn secret(name: &'static str, text: &str) -> Result<HeaderValue, InvalidConfig> {
    let mut value = HeaderValue::from_str(text).map_err(|_| InvalidConfig::Value {
        name,
        // Not repeated: it is a secret.
        why: "it has characters in it that no header can have".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments(error) => write!(f, "{error} (see --help)"),
            Self::DotEnv(error) => write!(f, ".env: {error}"),
            Self::Setting(error) => error.fmt(f),
            Self::Value { name, why } => write!(f, "{name}: {why}"),
            Self::NoKey => f.write_str(
                "ELEVENLABS_API_KEY is not set: an address of ElevenLabs was given, but no key",
            ),
        }
    }
}

impl std::error::Error for InvalidConfig {}

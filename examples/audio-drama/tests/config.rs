//! What users can say, and what they are told if it makes no sense.

use std::{ffi::OsString, fs};

use audio_drama::config::{Command, Config, InvalidConfig, Variables};
use tower_throttle::elevenlabs::Plan;

fn read(arguments: &[&str], variables: &Variables) -> Result<Command, InvalidConfig> {
    Command::read(arguments.iter().map(OsString::from), variables)
}

fn config(arguments: &[&str], variables: &[(&str, &str)]) -> Config {
    let variables = Variables::only(variables.iter().copied());
    match read(arguments, &variables) {
        Ok(Command::Serve(config)) => *config,
        other => panic!("{other:?}"),
    }
}

fn error(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let variables = Variables::only(variables.iter().copied());
    read(arguments, &variables).unwrap_err().to_string()
}

const KEY: (&str, &str) = ("ELEVENLABS_API_KEY", "secret");

#[test]
fn by_default_it_is_three_at_once_on_port_8000_with_mocks() {
    let config = config(&[], &[]);
    assert_eq!(config.setting.get(), 3);
    assert_eq!((config.host, config.port), (None, 8000));
    assert_eq!(config.batch.get(), 10);
    assert_eq!(config.plan, None);
    assert!(config.elevenlabs.is_none() && config.narrator.is_none());
}

#[test]
fn the_setting_is_a_positive_integer_or_an_error_that_names_it() {
    let variable = "ELEVENLABS_MAX_CONCURRENT";
    assert_eq!(config(&[], &[(variable, "8")]).setting.get(), 8);
    for value in ["nonsense", "0", "-1", "3.5", "", " "] {
        for arguments in [&[][..], &["--demo"]] {
            assert_eq!(
                error(arguments, &[(variable, value)]),
                format!("ELEVENLABS_MAX_CONCURRENT is {value:?}: expected a positive integer")
            );
        }
    }
}

#[test]
fn options_come_before_variables() {
    let config = config(
        &[
            "--elevenlabs-url=http://option/",
            "--narration-url",
            "http://option:5050",
            "--voice=Ann-1_",
            "--model=eleven_v3",
            "--plan=PRO",
            "--batch=20",
            "--host=::",
            "--port=0",
        ],
        &[
            KEY,
            ("ELEVENLABS_API_BASE_URL", "http://variable"),
            ("NARRATION_API_BASE_URL", "http://variable"),
            ("NARRATION_API_KEY", "secret"),
            ("ELEVENLABS_VOICE_ID", "Bob"),
        ],
    );
    let (elevenlabs, narrator) = (config.elevenlabs.unwrap(), config.narrator.unwrap());
    assert_eq!(elevenlabs.base.to_string(), "http://option");
    assert_eq!(
        (&*elevenlabs.voice, &*elevenlabs.model),
        ("Ann-1_", "eleven_v3")
    );
    assert_eq!(narrator.base.to_string(), "http://option:5050");
    assert_eq!(narrator.authorization.unwrap(), "Bearer secret");
    assert_eq!(
        (config.plan, config.batch.get(), config.port),
        (Some(Plan::Pro), 20, 0)
    );
    assert_eq!(config.host.unwrap().to_string(), "::");
}

#[test]
fn variables_will_do() {
    let config = config(
        &[],
        &[
            KEY,
            ("ELEVENLABS_API_BASE_URL", "https://api.elevenlabs.io"),
            ("ELEVENLABS_VOICE_ID", "Bob"),
        ],
    );
    let elevenlabs = config.elevenlabs.unwrap();
    assert!(elevenlabs.base.is_https());
    assert_eq!(elevenlabs.voice, "Bob");
}

#[test]
fn keys_are_shown_nowhere() {
    let config = config(
        &["--elevenlabs-url=http://a", "--narration-url=http://b"],
        &[KEY, ("NARRATION_API_KEY", "secret")],
    );
    assert!(!format!("{config:?}").contains("secret"));
    let broken = [("ELEVENLABS_API_KEY", "secret\n")];
    let error = error(&["--elevenlabs-url=http://a"], &broken);
    assert_eq!(
        error,
        "ELEVENLABS_API_KEY: it has characters in it that no header can have"
    );
}

#[test]
fn an_address_without_a_key_is_an_error() {
    for key in [&[][..], &[("ELEVENLABS_API_KEY", "")]] {
        assert_eq!(
            error(&["--elevenlabs-url=http://a"], key),
            "ELEVENLABS_API_KEY is not set: an address of ElevenLabs was given, but no key"
        );
    }
}

#[test]
fn what_makes_no_sense_is_named() {
    for (arguments, message) in [
        (
            &["--elevenlabs-url=ftp://a"][..],
            "--elevenlabs-url: \"ftp://a\" cannot be a base URL: only http and https can be served",
        ),
        (
            &["--narration-url=a"],
            "--narration-url: \"a\" cannot be a base URL: it has to begin with http:// or https://",
        ),
        (
            &["--plan=gold"],
            "--plan: \"gold\": \"gold\" is no known plan: expected one of free, starter, creator, pro, scale, business",
        ),
        (
            &["--port=70000"],
            "--port: \"70000\": number too large to fit in target type",
        ),
        (
            &["--host=localhost"],
            "--host: \"localhost\": invalid IP address syntax",
        ),
        (
            &["--batch=0"],
            "--batch: \"0\": number would be zero for non-zero type",
        ),
        (
            &["--voice=a/b"],
            "the voice's id: \"a/b\" has something else in it than letters and digits",
        ),
        (
            &["--demo", "--port=1"],
            "--demo: it takes no other option: it is about mocks",
        ),
        (&["--nonsense"], "invalid option '--nonsense' (see --help)"),
        (&["text"], "unexpected argument \"text\" (see --help)"),
    ] {
        assert_eq!(error(arguments, &[KEY]), message);
    }
}

#[test]
fn help_comes_before_everything() {
    let variables = Variables::only([("ELEVENLABS_MAX_CONCURRENT", "nonsense")]);
    assert!(matches!(read(&["--help"], &variables), Ok(Command::Help)));
}

#[test]
fn a_file_stands_in_for_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    let with_file = |variables: Variables| -> Result<usize, InvalidConfig> {
        match read(&[], &variables.and_file(&file)?)? {
            Command::Serve(config) => Ok(config.setting.get()),
            other => panic!("{other:?}"),
        }
    };
    let nothing = || Variables::only([]);
    assert_eq!(with_file(nothing()).unwrap(), 3, "there need not be one");

    fs::write(&file, "# Comment\nELEVENLABS_MAX_CONCURRENT='7'\n").unwrap();
    assert_eq!(with_file(nothing()).unwrap(), 7);
    let environment = Variables::only([("ELEVENLABS_MAX_CONCURRENT", "5")]);
    assert_eq!(with_file(environment).unwrap(), 5);

    fs::write(&file, "ELEVENLABS_MAX_CONCURRENT=seven").unwrap();
    assert_eq!(
        with_file(nothing()).unwrap_err().to_string(),
        "ELEVENLABS_MAX_CONCURRENT is \"seven\": expected a positive integer"
    );
    fs::write(&file, "what is this?").unwrap();
    let error = with_file(nothing()).unwrap_err().to_string();
    assert!(error.starts_with(".env: "), "{error}");
}

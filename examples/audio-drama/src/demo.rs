//! Shows on mocks what the service does, and checks that it does what it promises.

use std::{
    fmt::Display,
    io::{Cursor, Read},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::{sync::oneshot, time::Instant};
use tower_throttle::{
    BoxError,
    elevenlabs::MaxConcurrent,
    mock::{Work, elevenlabs::TTS},
};
use zip::ZipArchive;

use crate::{
    archive::MANIFEST,
    config::{Config, VOICE},
    http_client::{HttpClient, http_client},
    mocks::{self, FREE_PLAN, Mocks, Served},
    script::Script,
    server::Server,
    split::Kind,
    studio::MAX_CHARS,
    three_ways::{self, SEGMENTS},
};

/// A segment of the comparison takes twelve seconds; here it takes that much less.
const TIMES_FASTER: u32 = 20;

const SHORT: &str = "Somebody knocked. “Who is there?” 「是我。」";

/// Promises that were not kept, told while they are found.
#[derive(Debug, Default)]
struct Promises {
    broken: usize,
}

impl Promises {
    fn expect(&mut self, kept: bool, promise: impl Display) {
        if !kept {
            println!("  BROKEN: {promise}");
            self.broken += 1;
        }
    }
}

/// Whether everything was as promised.
///
/// # Errors
///
/// If there are no sockets to be had, or the service does not answer.
pub async fn run(setting: MaxConcurrent) -> Result<bool, BoxError> {
    let mut promises = Promises::default();
    compare(&mut promises).await?;
    println!();
    serve(setting, &mut promises).await?;
    println!();
    match promises.broken {
        0 => println!("Everything was as promised."),
        n => println!("{n} promises were broken."),
    }
    Ok(promises.broken == 0)
}

async fn compare(promises: &mut Promises) -> Result<(), BoxError> {
    let takes = Duration::from_secs(12) / TIMES_FASTER;
    println!("{SEGMENTS} segments of 12 s each, to an API that allows {FREE_PLAN} at once");
    println!("(in this demo everything is {TIMES_FASTER} times faster):");
    let client = http_client(false)?;
    for (name, at_once, voiced, waves) in [
        ("all together", None, FREE_PLAN, 1),
        ("3 at once", Some(3), SEGMENTS, 4),
        ("one by one", Some(1), SEGMENTS, 10),
    ] {
        let api = mocks::elevenlabs_taking(Work::fixed(takes));
        let served = Served::start(|listener| api.serve(listener))?;
        let client = client.clone();
        let outcome = match at_once {
            Some(at_once) => three_ways::limited(client, served.base(), at_once).await?,
            None => three_ways::unlimited(client, served.base()).await?,
        };
        println!(
            "  {name:<14}{:>3} voiced, {} refused, {:>4.0} s",
            outcome.voiced,
            outcome.refused,
            (outcome.took * TIMES_FASTER).as_secs_f64()
        );
        promises.expect(
            outcome.voiced == voiced,
            format_args!("{voiced} are voiced"),
        );
        promises.expect(
            outcome.voiced + outcome.refused == SEGMENTS,
            "all others are refused",
        );
        // A busy machine makes it longer.
        promises.expect(
            outcome.took >= takes * waves,
            format_args!("it takes {} s", 12 * waves),
        );
    }
    Ok(())
}

/// The service on a free port, and a client of it.
struct Stage {
    mocks: Mocks,
    client: HttpClient,
    service: SocketAddr,
}

/// One answer.
struct Answer {
    status: StatusCode,
    body: Bytes,
    took: Duration,
}

async fn serve(setting: MaxConcurrent, promises: &mut Promises) -> Result<(), BoxError> {
    let mocks = Mocks::default();
    let config = Config::with_mocks(setting);
    let server = Server::start(config, mocks.clone()).await?;
    let service = server.addresses().next().ok_or("there is no address")?;
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(server.run(async {
        // An error means that the demo is over, too.
        let _ = stopped.await;
    }));
    let stage = Stage {
        mocks,
        client: http_client(false)?,
        service,
    };
    println!("The service on {service}, with a mock ElevenLabs of the free plan:");

    let long = long();
    let normal = setting.get();
    let careful = normal.saturating_sub(1).max(1);
    stage
        .run("a short text", &[SHORT], normal, promises)
        .await?;
    stage
        .run("a long text", &[&long], careful, promises)
        .await?;
    stage
        .run("two at the same time", &[&long, &long], careful, promises)
        .await?;

    let status: Value = serde_json::from_slice(&stage.get("/status").await?.body)?;
    let limit = &status["dialogue"]["limit"];
    println!("  afterwards the limit is {limit} again");
    promises.expect(
        *limit == normal,
        format_args!("the limit is {normal} again"),
    );
    let account = &status["subscription"];
    println!(
        "  and {} characters of the plan {} were used when the API was last asked",
        account["character_count"], account["tier"]
    );
    promises.expect(account["tier"] == "free", "the account's quota is known");
    drop(stop);
    server.await??;
    Ok(())
}

impl Stage {
    async fn run(
        &self,
        name: &str,
        texts: &[&str],
        limit: usize,
        promises: &mut Promises,
    ) -> Result<(), BoxError> {
        self.mocks.elevenlabs.judge().reset();
        let posts = texts.iter().map(|text| self.post(text));
        let answers = futures_util::future::try_join_all(posts).await?;
        let report = self.mocks.elevenlabs.report();
        let tts = report.endpoint(TTS);
        let refused = tts.refused_by_concurrency + tts.refused_by_rate;
        let mut dialogue = 0;
        for (text, answer) in texts.iter().zip(answers) {
            let script = Script::new((*text).to_owned(), MAX_CHARS)?;
            dialogue += script.dialogue();
            println!(
                "  {name:<22}{:>3} segments ({:>2} dialogue) in {:>4.1} s, {} in flight at most, {refused} times 429",
                script.segments().len(),
                script.dialogue(),
                answer.took.as_secs_f64(),
                tts.most_in_flight
            );
            promises.expect(answer.status == StatusCode::OK, "the answer is 200");
            if let Err(error) = check(&script, answer.body) {
                promises.expect(
                    false,
                    format_args!("the zip is complete and in order: {error}"),
                );
            }
        }
        promises.expect(refused == 0, "nothing is refused");
        promises.expect(
            tts.accepted == dialogue,
            "each segment of dialogue is voiced once",
        );
        let most = limit.min(dialogue);
        promises.expect(
            tts.most_in_flight == most,
            format_args!("{most} are in flight at most, and no fewer"),
        );
        Ok(())
    }

    async fn post(&self, text: &str) -> Result<Answer, BoxError> {
        let request = Request::post(format!("http://{}/generate", self.service))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(json!({"text": text}).to_string()))?;
        self.send(request).await
    }

    async fn get(&self, path: &str) -> Result<Answer, BoxError> {
        let request = Request::get(format!("http://{}{path}", self.service));
        self.send(request.body(Full::default())?).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, BoxError> {
        let start = Instant::now();
        let answer = self.client.request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok(Answer {
            status,
            body,
            took: start.elapsed(),
        })
    }
}

/// Twelve times somebody tells, and somebody says something, in two languages.
fn long() -> String {
    let scenes = [
        ("The {} bell rang.", "“Was that you, {}?”"),
        ("第{}个人笑了。", "「你好，我是{}号。」"),
        ("Nobody moved for {} minutes.", "\"{} is enough!\""),
    ];
    let lines = (0..12).map(|number| {
        let (told, said) = scenes[number % scenes.len()];
        format!("{told} {said}\n").replace("{}", &number.to_string())
    });
    lines.collect()
}

/// Whether a zip has the audio of all segments of a script, in order, and a manifest that says so.
fn check(script: &Script, zip: Bytes) -> Result<(), BoxError> {
    let mut zip = ZipArchive::new(Cursor::new(zip))?;
    let segments = script.segments();
    let mut read = |index| -> Result<(String, Vec<u8>), BoxError> {
        let mut file = zip.by_index(index)?;
        let mut data = Vec::new();
        file.read_to_end(&mut data)?;
        Ok((file.name().to_owned(), data))
    };
    for (index, segment) in segments.iter().enumerate() {
        let text = script.spoken(segment);
        let expected = match segment.kind {
            Kind::Dialogue => mocks::spoken(VOICE, text),
            Kind::Narration => mocks::narrated(text),
        };
        let (name, audio) = read(index)?;
        if name != script.file_name(index) || audio != expected.as_bytes() {
            return Err(format!("{name} is not {text:?}").into());
        }
    }
    let (name, manifest) = read(segments.len())?;
    let manifest: Value = serde_json::from_slice(&manifest)?;
    let listed = manifest["files"].as_array().map_or(0, Vec::len);
    if name != MANIFEST || listed != segments.len() || zip.len() != segments.len() + 1 {
        return Err("the manifest does not list the segments".into());
    }
    Ok(())
}

//! What happens when a provider fails.

mod common;

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use audio_drama::limits::BAD_NETWORK_FOR;
use bytes::Bytes;
use common::{DIALOGUE, SECOND, Stage, elevenlabs, script};
use futures_util::{future::join, stream};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use tokio::time::{Instant, sleep, sleep_until};
use tower::{ServiceExt, service_fn};
use tower_throttle::{BoxError, elevenlabs::Plan, mock::elevenlabs::MockElevenLabs};

type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// What happens to a request on its way to the mock.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// It is answered with this, and this body.
    Status(u16, &'static str),
    /// The connection is reset before the answer.
    Reset,
    /// The answer breaks off in its middle.
    BreaksOff,
    /// There never is an answer.
    Silence,
    /// The answer is a success, and empty.
    Empty,
}

/// A stage on which the first requests for dialogue have these faults.
fn stage(at_once: usize, faults: impl IntoIterator<Item = Fault>) -> Stage {
    let api = elevenlabs();
    let mock = api.clone();
    let faults: Arc<Mutex<VecDeque<_>>> = Arc::new(Mutex::new(faults.into_iter().collect()));
    let service = service_fn(move |request: Request<Full<Bytes>>| {
        // The quota is asked for beside everything, and has no faults here.
        let is_speech = request.method() == http::Method::POST;
        let fault = is_speech
            .then(|| faults.lock().unwrap().pop_front())
            .flatten();
        faulty(mock.clone(), request, fault.unwrap_or(Fault::None))
    });
    Stage::over(at_once, service, api)
}

async fn faulty(
    api: MockElevenLabs,
    request: Request<Full<Bytes>>,
    fault: Fault,
) -> Result<Answer, BoxError> {
    let whole = |body: &'static str| Full::from(body).map_err(no_error).boxed_unsync();
    match fault {
        Fault::None => {
            let answer = api.oneshot(request).await?;
            Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
        }
        Fault::Status(status, body) => Ok(Response::builder().status(status).body(whole(body))?),
        Fault::Reset => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
        Fault::BreaksOff => {
            let frames = [
                Ok(Frame::data(Bytes::from_static(b"AUD"))),
                Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
            ];
            let body = StreamBody::new(stream::iter(frames));
            Ok(Response::new(body.boxed_unsync()))
        }
        Fault::Silence => std::future::pending().await,
        Fault::Empty => Ok(Response::new(whole(""))),
    }
}

fn no_error(never: Infallible) -> BoxError {
    match never {}
}

const INVALID_KEY: &str =
    r#"{"detail": {"status": "invalid_api_key", "message": "Invalid API key"}}"#;

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_with_the_segment_and_the_reason() {
    for (fault, message) in [
        (
            Fault::Status(401, INVALID_KEY),
            "ElevenLabs answered 401 Unauthorized: Invalid API key",
        ),
        (Fault::Status(404, ""), "ElevenLabs answered 404 Not Found"),
        (
            Fault::Status(400, "<html>no</html>"),
            "ElevenLabs answered 400 Bad Request: <html>no</html>",
        ),
        (Fault::Empty, "ElevenLabs answered with no audio"),
    ] {
        let stage = stage(3, [Fault::None, fault]);
        let answer = stage.generate(&script(2)).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert_eq!(
            answer.error(),
            format!("segment 4 of 4 (dialogue) could not be voiced: {message}")
        );
        assert_eq!(stage.status().await["scripts"]["completed"], 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_used_up_is_told() {
    let api = MockElevenLabs::builder()
        .plan(Plan::Free)
        .credits(9)
        .build();
    let stage = Stage::over(3, api.clone(), api);
    let answer = stage.generate("“Twenty characters.” “One more.”").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    let error = answer.error();
    let expected = "segment 2 of 2 (dialogue) could not be voiced: ElevenLabs answered 401 \
                    Unauthorized: This request exceeds your quota of 9. You have 0 credits remaining";
    assert!(error.starts_with(expected), "{error}");
    stage.assert_idle(3);
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_ends_the_script_and_gives_everything_back() {
    let stage = stage(3, [Fault::None, Fault::Status(401, INVALID_KEY)]);
    let start = Instant::now();
    let answer = stage.generate(&script(10)).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    // In order: the second one's failure is known when the first one has been voiced.
    assert_eq!(start.elapsed(), DIALOGUE);
    stage.assert_calm(3);
}

#[tokio::test(start_paused = true)]
async fn what_fails_in_passing_is_asked_for_again() {
    for fault in [
        Fault::Status(500, ""),
        Fault::Status(503, ""),
        Fault::Status(
            429,
            r#"{"detail": {"status": "system_busy", "message": "busy"}}"#,
        ),
        Fault::Reset,
        Fault::BreaksOff,
        Fault::Silence,
    ] {
        let stage = stage(3, [fault, fault]);
        let answer = stage.generate("“Hello.”").await;
        assert_eq!(answer.files()[0].1, b"AUDIO(21m0):Hello....", "{fault:?}");
        assert_eq!(stage.tts().accepted, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_three_times_has_failed() {
    for (fault, message) in [
        (
            Fault::Status(500, "oh"),
            "ElevenLabs answered 500 Internal Server Error: oh",
        ),
        (
            Fault::Reset,
            "ElevenLabs could not be reached, or broke off: connection reset",
        ),
        (
            Fault::BreaksOff,
            "ElevenLabs could not be reached, or broke off: connection reset",
        ),
        (
            Fault::Silence,
            "ElevenLabs could not be reached, or broke off: no answer within 240 s",
        ),
    ] {
        let stage = stage(3, [fault; 3]);
        let answer = stage.generate("“Hello.”").await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{fault:?}");
        let expected = format!("segment 1 of 1 (dialogue) could not be voiced: {message}");
        assert_eq!(answer.error(), expected);
        assert_eq!(stage.tts().accepted, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_network_lowers_the_limit_for_a_while() {
    let stage = stage(3, [Fault::Reset, Fault::None, Fault::None, Fault::Reset]);
    assert_eq!(stage.limit(), Some(3));
    let start = Instant::now();
    let text = script(3);
    let watch = async {
        sleep(SECOND).await;
        assert_eq!(stage.limit(), Some(2));
    };
    let (answer, ()) = join(stage.generate(&text), watch).await;
    assert_eq!(answer.status, StatusCode::OK);
    // It counts from the last failure on, which came when the first retry was done: at 12 s, or a little
    // later for its back-off.
    sleep_until(start + Duration::from_secs(41)).await;
    assert_eq!(stage.limit(), Some(2));
    sleep(BAD_NETWORK_FOR).await;
    assert_eq!(stage.limit(), Some(3));
    stage.assert_calm(3);
}

#[tokio::test(start_paused = true)]
async fn a_script_and_a_bad_network_lower_the_limit_once() {
    let stage = stage(3, [Fault::Reset]);
    let text = script(4);
    let start = Instant::now();
    let watch = async {
        sleep(SECOND).await;
        assert_eq!(stage.limit(), Some(2));
    };
    let (answer, ()) = join(stage.generate(&text), watch).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(start.elapsed() < BAD_NETWORK_FOR);
    assert_eq!(stage.limit(), Some(2), "the network is still bad");
    sleep_until(start + BAD_NETWORK_FOR + SECOND).await;
    assert_eq!(stage.limit(), Some(3));
    stage.assert_calm(3);
}

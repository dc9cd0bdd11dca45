//! What an interrupt does.

use http::{Response, StatusCode, Version};
use http_body_util::BodyExt;
use tokio::{io::AsyncReadExt, net::TcpStream, sync::mpsc};
use tower_throttle::mock::{Judge, Limit, Work};

use crate::support::{
    LONG, Line, VERSIONS, Whole, client, judged, post, send, serve, serve_judge, soon, streamed,
    until,
};

const A: &str = "POST /a";

#[tokio::test]
async fn what_runs_is_done_and_nothing_new_begins() {
    for version in VERSIONS {
        let (started, mut starts) = mpsc::unbounded_channel();
        let upstream = serve(move |_| {
            let (frames, body) = streamed();
            frames.data("one, ");
            started.send(frames).unwrap();
            async { Response::new(body) }
        });
        let mut line = Line::start(&upstream, &["--concurrency", "1"]);
        let caller = client(version);
        let running = caller.request(post(&line.url("/a")));
        let running = soon("an answer", running).await.unwrap();
        let (other, request) = (client(version), post(&line.url("/a")));
        let waiting = tokio::spawn(async move { send(&other, request).await });
        line.counted("overall", 1, 1).await;
        let mut idle = TcpStream::connect(line.address).await.unwrap();
        until("it is accepted", || line.gateway.connections() == 3).await;

        line.interrupt();
        let read = idle.read_u8();
        soon("an idle connection closes", read).await.unwrap_err();
        // Who is here has its turn all the same.
        for _ in 0..2 {
            let frames = soon("a start", starts.recv()).await.unwrap();
            frames.data("two");
        }
        let running = Whole::read(running).await;
        assert_eq!(running.body, "one, two");
        let waiting = soon("an answer", waiting).await.unwrap();
        assert_eq!(waiting.body, "one, two");
        let address = line.address;
        line.ended().await;
        TcpStream::connect(address).await.unwrap_err();
    }
}

#[tokio::test]
async fn who_still_waits_when_the_time_is_over_is_told() {
    for version in VERSIONS {
        let judge = Judge::builder()
            .route(A, Limit::unlimited(), Work::fixed(LONG * 2))
            .build();
        let limit = format!("{A}=concurrency:1");
        let args = ["--limit", &limit, "--grace", "100ms"];
        let mut line = Line::start(&serve_judge(&judge), &args);
        let calls = [(); 2].map(|()| {
            let (client, request) = (client(version), post(&line.url("/a")));
            tokio::spawn(async move { send(&client, request).await })
        });
        line.counted(A, 1, 1).await;
        line.interrupt();
        for call in calls {
            let answer = soon("an answer", call).await.unwrap();
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.json()["error"]["type"], "shutting_down");
        }
        judged(&judge, "the API works on nothing", |api| api.in_flight == 0).await;
        line.ended().await;
    }
}

#[tokio::test]
async fn a_stream_that_does_not_end_in_time_is_cut() {
    let (started, mut starts) = mpsc::unbounded_channel();
    let upstream = serve(move |_| {
        let (frames, body) = streamed();
        frames.data("one");
        started.send(frames).unwrap();
        async { Response::new(body) }
    });
    let mut line = Line::start(&upstream, &["--grace", "0ms"]);
    let caller = client(Version::HTTP_11);
    let running = caller.request(post(&line.url("/a")));
    let running = soon("an answer", running).await.unwrap();
    // Nothing follows, and no end.
    let _frames = starts.recv().await.unwrap();
    line.interrupt();
    line.ended().await;
    soon("the end", running.collect()).await.unwrap_err();
}

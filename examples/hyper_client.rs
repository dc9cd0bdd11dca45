//! hyper-util's client, throttled, against the mock ElevenLabs on a real socket.

use std::time::Duration;

use futures_util::future::try_join_all;
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{BoxError, ServiceBuilder};
use tower_throttle::{
    Endpoints, Quota, ThrottleLayer,
    mock::{
        self,
        elevenlabs::{Client, MockElevenLabs, TTS},
    },
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let api = MockElevenLabs::builder().build();
    let listener = mock::bind()?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(api.clone().serve(listener));

    // Without TCP_NODELAY, a small request can wait 40 ms for an acknowledgement of the one before.
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let http = HttpClient::builder(TokioExecutor::new()).build(connector);

    // The API counts when requests arrive. Some take longer on their way than others, so two that leave a
    // second apart can arrive closer than that: the margin is how much closer.
    let quota = Quota::per_second(5)
        .concurrency(4)
        .margin(Duration::from_millis(250));
    let throttled = ServiceBuilder::new()
        .layer(ThrottleLayer::new(Endpoints::new().route(TTS, quota)))
        .service(http);

    let client = Client::new(throttled).base_url(&url);
    let texts = ["Once upon", "a time", "there was", "a frog", "that sang"];
    let audio = try_join_all(texts.map(|text| client.tts("narrator", text))).await?;
    for audio in audio {
        println!("{}", String::from_utf8_lossy(&audio));
    }

    println!("\nWhat {url} says of it:\n{}", api.report());
    api.report().assert_compliant();
    Ok(())
}

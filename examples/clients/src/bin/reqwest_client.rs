//! reqwest, throttled, against the mock ElevenLabs on a real socket: JSON in, a streamed answer out.

use std::time::Duration;

use futures_util::{StreamExt, future::try_join_all};
use tower::{BoxError, ServiceBuilder};
use tower_throttle::{
    Endpoints, Quota, ThrottleLayer,
    mock::{
        self,
        elevenlabs::{MockElevenLabs, TTS},
    },
    reqwest::{Client, ReqwestService},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let api = MockElevenLabs::builder().build();
    let listener = mock::bind()?;
    let url = format!("http://{}/v1/text-to-speech", listener.local_addr()?);
    tokio::spawn(api.clone().serve(listener));

    // The mock is on this machine, so no proxy leads to it.
    let http = ReqwestService::build(reqwest::Client::builder().no_proxy())?;
    let requests = http.get_ref().clone();

    // The API counts when requests arrive. Some take longer on their way than others, so two that leave a
    // second apart can arrive closer than that: the margin is how much closer.
    let quota = Quota::per_second(5)
        .concurrency(4)
        .margin(Duration::from_millis(250));
    let client = Client::new(
        ServiceBuilder::new()
            .layer(ThrottleLayer::new(Endpoints::new().route(TTS, quota)))
            .service(http),
    );

    let speak = async |text| {
        let request = requests
            .post(format!("{url}/narrator"))
            .header("xi-api-key", "the mock takes any")
            .json(&serde_json::json!({ "text": text }))
            .build()?;
        let mut parts = client
            .execute(request)
            .await?
            .error_for_status()?
            .bytes_stream();
        // The place at the API is taken until the stream has ended, or is dropped.
        let mut audio = Vec::new();
        while let Some(part) = parts.next().await {
            audio.extend(part?);
        }
        Ok::<_, BoxError>(audio)
    };
    let texts = ["Once upon", "a time", "there was", "a frog", "that sang"];
    for audio in try_join_all(texts.map(speak)).await? {
        println!("{}", String::from_utf8_lossy(&audio));
    }

    println!("\nWhat the API says of it:\n{}", api.report());
    api.report().assert_compliant();
    Ok(())
}

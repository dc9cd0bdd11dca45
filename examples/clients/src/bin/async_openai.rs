//! async-openai within limits of requests and tokens, against the mock of the chat APIs.
//!
//! The SDK hands each call to a tower service of ours, as a factory of `reqwest::Request`s, and takes a
//! `reqwest::Response` back. So the client with limits is all there is to it: what it retries, it does itself, and the
//! SDK's own retries are replaced. Twelve calls at once, half of them streamed: the API refuses none.

use std::time::Duration;

use async_openai::{
    Client,
    config::OpenAIConfig,
    error::OpenAIError,
    middleware::HttpRequestFactory,
    types::chat::{
        ChatCompletionRequestUserMessageArgs, CreateChatCompletionRequest,
        CreateChatCompletionRequestArgs,
    },
};
use futures_util::{TryStreamExt, future::try_join_all};
use tower::{BoxError, service_fn};
use tower_throttle::{
    Endpoints, Quota, ThrottleLayer, Unit, Usage, estimate_chat,
    mock::{
        self, Limit,
        llm::{CHAT_COMPLETIONS, MockLlm, TOKENS},
    },
    reqwest::Client as Limited,
};

const SECOND: Duration = Duration::from_secs(1);
const CALLS: usize = 12;

/// The SDK, with each of its calls within the limits.
fn openai(limited: &Limited, base: &str) -> Client<OpenAIConfig> {
    let limited = limited.clone();
    let service = service_fn(move |factory: HttpRequestFactory| {
        let limited = limited.clone();
        async move {
            let request = factory.build().await?;
            limited.execute(request).await
        }
    });
    // The SDK makes its requests with this client, and sends none by it.
    let config = OpenAIConfig::new().with_api_base(base).with_api_key("any");
    Client::build(http_client(), config).with_http_service(service)
}

fn http_client() -> reqwest::Client {
    // The mock is on this machine, so no proxy leads to it.
    let builder = reqwest::Client::builder().no_proxy();
    builder.build().expect("there is no TLS to set up")
}

fn request(call: usize) -> Result<CreateChatCompletionRequest, OpenAIError> {
    let text = format!("Tell me fairy tale number {call}");
    let message = ChatCompletionRequestUserMessageArgs::default()
        .content(text)
        .build()?;
    CreateChatCompletionRequestArgs::default()
        .model("gpt-4o")
        .max_completion_tokens(30_u32)
        .messages([message.into()])
        .build()
}

/// Its words, and whether they came as a stream.
async fn tell(openai: &Client<OpenAIConfig>, call: usize) -> Result<String, OpenAIError> {
    let request = request(call)?;
    if call % 2 == 0 {
        let answer = openai.chat().create(request).await?;
        let choices = answer.choices.into_iter();
        return Ok(choices
            .filter_map(|choice| choice.message.content)
            .collect());
    }
    let chunks = openai.chat().create_stream(request).await?;
    let chunks: Vec<_> = chunks.try_collect().await?;
    let choices = chunks.into_iter().flat_map(|chunk| chunk.choices);
    Ok(choices.filter_map(|choice| choice.delta.content).collect())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let limit = Limit::per(5, SECOND).units(TOKENS, 400, SECOND);
    let api = MockLlm::builder().openai(limit).build();
    let listener = mock::bind()?;
    let base = format!("http://{}/v1", listener.local_addr()?);
    tokio::spawn(api.clone().serve(listener));

    // The API counts when requests arrive, and some take longer on their way than others: hence the margin.
    let quota = Quota::per(5, SECOND)
        .units(Unit::TOKENS, 400, SECOND)
        .margin(SECOND / 4);
    let layer = ThrottleLayer::new(Endpoints::new().route(CHAT_COMPLETIONS, quota))
        .cost_by(estimate_chat)
        .settle_by(Usage::OPENAI);
    let limited = Limited::build(reqwest::Client::builder().no_proxy(), &layer)?;
    let openai = openai(&limited, &base);

    let tales = try_join_all((0..CALLS).map(|call| tell(&openai, call))).await?;
    for (call, tale) in tales.iter().enumerate() {
        println!("{call:>2}: {tale}");
        assert!(!tale.is_empty(), "call {call} was told nothing");
    }

    println!("\nWhat the API says of it:\n{}", api.report());
    api.report().assert_compliant();
    assert_eq!(api.report().endpoint(CHAT_COMPLETIONS).accepted, CALLS);
    // The SDK reads streams on tasks of its own: nothing of them is left.
    tokio::time::timeout(10 * SECOND, limited.handle().drain()).await?;
    Ok(())
}

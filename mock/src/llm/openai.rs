//! What OpenAI's chat completions look like.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use super::{
    said::{Said, event_stream},
    usage::Usage,
};
use crate::{Answer, answer};

pub(super) fn whole(said: &Said<'_>) -> Answer {
    let (id, created, model) = head(said);
    let text = Value::from(said.words.concat());
    let finish = finish_reason(said);
    let usage = usage(said.usage);
    let body = format!(
        r#"{{"id":{id},"object":"chat.completion","created":{created},"model":{model},"choices":[{{"index":0,"message":{{"role":"assistant","content":{text},"refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"{finish}"}}],"usage":{usage},"service_tier":"default","system_fingerprint":"fp_mock"}}"#
    );
    answer::json(StatusCode::OK, body).into()
}

pub(super) fn stream(said: &Said<'_>, per_token: Duration) -> Answer {
    let first = choice(
        r#"{"role":"assistant","content":"","refusal":null}"#,
        "null",
    );
    let mut answer = event_stream().chunk(Duration::ZERO, chunk(said, &first, Some("null")));
    for word in &said.words {
        let delta = format!(r#"{{"content":"{word}"}}"#);
        answer = answer.chunk(
            per_token,
            chunk(said, &choice(&delta, "null"), Some("null")),
        );
    }
    let finish = format!(r#""{}""#, finish_reason(said));
    let mut end = chunk(said, &choice("{}", &finish), Some("null"));
    if said.chat.include_usage {
        end += &chunk(said, "", Some(&usage(said.usage)));
    }
    end += "data: [DONE]\n\n";
    answer.chunk(Duration::ZERO, end)
}

fn chunk(said: &Said<'_>, choices: &str, usage: Option<&str>) -> String {
    let (id, created, model) = head(said);
    // Without `include_usage` the field is not there.
    let usage = usage.filter(|_| said.chat.include_usage);
    let usage = usage.map_or_else(String::new, |usage| format!(r#","usage":{usage}"#));
    format!(
        "data: {{\"id\":{id},\"object\":\"chat.completion.chunk\",\"created\":{created},\"model\":{model},\
         \"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\",\"choices\":[{choices}]{usage}}}\n\n"
    )
}

fn choice(delta: &str, finish: &str) -> String {
    format!(r#"{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}"#)
}

fn head(said: &Said<'_>) -> (Value, u64, Value) {
    let id = Value::from(format!("chatcmpl-{}", said.id));
    (id, said.created, Value::from(said.chat.model()))
}

fn finish_reason(said: &Said<'_>) -> &'static str {
    if said.cut { "length" } else { "stop" }
}

fn usage(usage: Usage) -> String {
    let Usage {
        input_tokens,
        output_tokens,
    } = usage;
    let total = usage.total();
    format!(
        r#"{{"prompt_tokens":{input_tokens},"completion_tokens":{output_tokens},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":0,"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#
    )
}

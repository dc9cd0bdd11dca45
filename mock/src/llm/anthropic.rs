//! What Anthropic's messages look like.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use super::said::{Said, event_stream};
use crate::{Answer, answer};

pub(super) fn whole(said: &Said<'_>) -> Answer {
    let text = Value::from(said.words.concat());
    let content = format!(r#"{{"type":"text","text":{text}}}"#);
    let stop = format!(r#""{}""#, stop_reason(said));
    let body = message(said, &content, &stop, said.usage.output_tokens);
    answer::json(StatusCode::OK, body).into()
}

pub(super) fn stream(said: &Said<'_>, per_token: Duration) -> Answer {
    let mut start = event(
        "message_start",
        // One token has been made: it is known only at the end how many there are.
        &format!(r#","message":{}"#, message(said, "", "null", 1)),
    );
    start += &event(
        "content_block_start",
        r#","index":0,"content_block":{"type":"text","text":""}"#,
    );
    start += &event("ping", "");
    let mut answer = event_stream().chunk(Duration::ZERO, start);
    for word in &said.words {
        let delta = format!(r#","index":0,"delta":{{"type":"text_delta","text":"{word}"}}"#);
        answer = answer.chunk(per_token, event("content_block_delta", &delta));
    }
    let mut end = event("content_block_stop", r#","index":0"#);
    end += &event(
        "message_delta",
        &format!(
            r#","delta":{{"stop_reason":"{}","stop_sequence":null}},"usage":{{"output_tokens":{}}}"#,
            stop_reason(said),
            said.usage.output_tokens
        ),
    );
    end += &event("message_stop", "");
    answer.chunk(Duration::ZERO, end)
}

fn event(name: &str, rest: &str) -> String {
    format!("event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}\n\n")
}

fn message(said: &Said<'_>, content: &str, stop_reason: &str, output_tokens: u64) -> String {
    let (id, model) = (&said.id, Value::from(said.chat.model()));
    let input_tokens = said.usage.input_tokens;
    format!(
        r#"{{"id":"msg_{id}","type":"message","role":"assistant","model":{model},"content":[{content}],"stop_reason":{stop_reason},"stop_sequence":null,"usage":{{"input_tokens":{input_tokens},"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":{output_tokens},"service_tier":"standard"}}}}"#
    )
}

fn stop_reason(said: &Said<'_>) -> &'static str {
    if said.cut { "max_tokens" } else { "end_turn" }
}

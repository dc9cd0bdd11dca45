//! Answers as the documentation of the APIs shows them.

use super::*;

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream; charset=utf-8";

#[test]
fn openai_chat_completion() {
    let body = r#"{
  "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
  "object": "chat.completion",
  "created": 1741569952,
  "model": "gpt-4.1-2025-04-14",
  "choices": [
    {
      "index": 0,
      "message": {
        "role": "assistant",
        "content": "Hello! How can I assist you today?",
        "refusal": null,
        "annotations": []
      },
      "logprobs": null,
      "finish_reason": "stop"
    }
  ],
  "usage": {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
      "reasoning_tokens": 0,
      "audio_tokens": 0,
      "accepted_prediction_tokens": 0,
      "rejected_prediction_tokens": 0
    }
  },
  "service_tier": "default"
}
"#;
    assert_eq!(read(Usage::OPENAI, JSON, body), tokens(19, 10));
}

#[test]
fn openai_chat_stream_with_usage() {
    let body = r#"data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1694268190,"model":"gpt-4o-mini","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1694268190,"model":"gpt-4o-mini","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":"Hello"},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1694268190,"model":"gpt-4o-mini","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}

data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1694268190,"model":"gpt-4o-mini","system_fingerprint":"fp_44709d6fcb","choices":[],"usage":{"prompt_tokens":18,"completion_tokens":2,"total_tokens":20,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}

data: [DONE]

"#;
    assert_eq!(read(Usage::OPENAI, EVENTS, body), tokens(18, 2));
    let without = body.replace(r#""usage":{"#, r#""other":{"#);
    assert_eq!(read(Usage::OPENAI, EVENTS, &without), Cost::new());
}

#[test]
fn openai_streams_of_other_servers() {
    let body = ": OPENROUTER PROCESSING\n\n\
        data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\r\n\r\n\
        : keep-alive\r\n\r\n\
        data:{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\r\n\r\n\
        data:[DONE]\r\n\r\n";
    assert_eq!(read(Usage::OPENAI, EVENTS, body), tokens(7, 3));
}

#[test]
fn openai_usage_that_says_it_twice_with_zeros() {
    let body = r#"{"choices":[],"usage":{"prompt_tokens":37,"completion_tokens":67,"total_tokens":0,"input_tokens":0,"output_tokens":0}}"#;
    assert_eq!(read(Usage::OPENAI, JSON, body), tokens(37, 67));
}

#[test]
fn openai_response() {
    let body = r#"{
  "id": "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
  "object": "response",
  "created_at": 1741476542,
  "status": "completed",
  "error": null,
  "incomplete_details": null,
  "instructions": null,
  "max_output_tokens": null,
  "model": "gpt-4.1-2025-04-14",
  "output": [
    {
      "type": "message",
      "id": "msg_67ccd2bf17f0819081ff3bb2cf6508e60bb6a6b452d3795b",
      "status": "completed",
      "role": "assistant",
      "content": [{"type": "output_text", "text": "In a peaceful grove beneath a silver moon ...", "annotations": []}]
    }
  ],
  "parallel_tool_calls": true,
  "previous_response_id": null,
  "reasoning": {"effort": null, "summary": null},
  "usage": {
    "input_tokens": 36,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 87,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 123
  },
  "user": null,
  "metadata": {}
}"#;
    assert_eq!(read(Usage::OPENAI, JSON, body), tokens(36, 87));
}

#[test]
fn openai_response_stream() {
    let body = r#"event: response.created
data: {"type":"response.created","sequence_number":0,"response":{"id":"resp_67c9","object":"response","created_at":1741290958,"status":"in_progress","error":null,"model":"gpt-4.1-2025-04-14","output":[],"usage":null,"user":null,"metadata":{}}}

event: response.output_item.added
data: {"type":"response.output_item.added","output_index":0,"item":{"id":"msg_67c9","type":"message","status":"in_progress","role":"assistant","content":[]}}

event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"msg_67c9","output_index":0,"content_index":0,"delta":"Hi"}

event: response.completed
data: {"type":"response.completed","response":{"id":"resp_67c9","object":"response","created_at":1741290958,"status":"completed","error":null,"model":"gpt-4.1-2025-04-14","output":[{"id":"msg_67c9","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Hi there! How can I assist you today?","annotations":[]}]}],"usage":{"input_tokens":37,"output_tokens":11,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":48},"user":null,"metadata":{}}}

"#;
    assert_eq!(read(Usage::OPENAI, EVENTS, body), tokens(37, 11));
    let incomplete = body.replace("response.completed", "response.incomplete");
    assert_eq!(read(Usage::OPENAI, EVENTS, &incomplete), tokens(37, 11));
}

#[test]
fn openai_embeddings() {
    let body = r#"{"object":"list","data":[{"object":"embedding","embedding":[0.0023064255,-0.009327292,-0.0028842222],"index":0}],"model":"text-embedding-ada-002","usage":{"prompt_tokens":8,"total_tokens":8}}"#;
    assert_eq!(read(Usage::OPENAI, JSON, body), tokens(8, 0));
}

#[test]
fn openai_transcription() {
    let body = r#"{"text":"Imagine the wildest idea ...","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":10,"audio_tokens":4},"output_tokens":101,"total_tokens":115}}"#;
    assert_eq!(read(Usage::OPENAI, JSON, body), tokens(14, 101));
    let by_duration = r#"{"text":"Imagine","usage":{"type":"duration","seconds":27}}"#;
    assert_eq!(read(Usage::OPENAI, JSON, by_duration), Cost::new());
}

#[test]
fn anthropic_message() {
    let body = r#"{
  "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
  "type": "message",
  "role": "assistant",
  "content": [{"type": "text", "text": "Hello!"}],
  "model": "claude-opus-4-1-20250805",
  "stop_reason": "end_turn",
  "stop_sequence": null,
  "usage": {
    "input_tokens": 12,
    "cache_creation_input_tokens": 248,
    "cache_read_input_tokens": 1800,
    "cache_creation": {"ephemeral_5m_input_tokens": 248, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 6,
    "server_tool_use": {"web_search_requests": 1, "input_tokens": 99},
    "iterations": [{"type": "message", "input_tokens": 70, "output_tokens": 70}],
    "service_tier": "standard"
  }
}"#;
    assert_eq!(read(Usage::ANTHROPIC, JSON, body), tokens(260, 6));
}

const ANTHROPIC_STREAM: &str = r#"event: message_start
data: {"type": "message_start", "message": {"id": "msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyY", "type": "message", "role": "assistant", "content": [], "model": "claude-opus-4-1-20250805", "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 25, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 7, "output_tokens": 1}}}

event: content_block_start
data: {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello \"usage\": {\"output_tokens\": 9}"}}

event: content_block_stop
data: {"type": "content_block_stop", "index": 0}

event: message_delta
data: {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence":null}, "usage": {"output_tokens": 15}}

event: message_stop
data: {"type": "message_stop"}

"#;

#[test]
fn anthropic_stream() {
    let cost = read(Usage::ANTHROPIC, EVENTS, ANTHROPIC_STREAM);
    assert_eq!(cost, tokens(125, 15));
}

#[test]
fn an_anthropic_stream_tells_its_output_only_when_it_is_known() {
    let (begun, rest) = ANTHROPIC_STREAM
        .split_once("event: message_delta")
        .expect("it has one");
    assert_eq!(read(Usage::ANTHROPIC, EVENTS, begun), input_only(125));
    let answer = answer(EVENTS);
    let mut body = Usage::ANTHROPIC
        .body(&(&answer).into())
        .expect("it is text");
    assert_eq!(body.chunk(begun.as_bytes()), Some(input_only(125)));
    let rest = format!("event: message_delta{rest}");
    assert_eq!(body.chunk(rest.as_bytes()), Some(tokens(125, 15)));
    assert_eq!(body.end(), None);
}

#[test]
fn what_anthropic_says_last_counts() {
    let more = r#"event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":10682,"cache_creation_input_tokens":null,"cache_read_input_tokens":0,"output_tokens":510,"server_tool_use":{"web_search_requests":1}}}

"#;
    let body = format!("{ANTHROPIC_STREAM}{more}");
    // The cache is as the first event said, since the last says nothing.
    let cost = read(Usage::ANTHROPIC, EVENTS, &body);
    assert_eq!(cost, tokens(10_782, 510));
}

#[test]
fn what_an_anthropic_stream_begins_with_is_not_its_output() {
    let body = ANTHROPIC_STREAM.replace("\"output_tokens\": 15", "\"input_tokens\": 30");
    assert_eq!(read(Usage::ANTHROPIC, EVENTS, &body), input_only(130));
}

#[test]
fn an_old_total_is_not_that_of_new_figures() {
    let body = "data: {\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":5,\"total_tokens\":100}}\n\n\
        data: {\"usage\":{\"prompt_tokens\":6,\"completion_tokens\":7}}\n\n";
    assert_eq!(read(Usage::OPENAI, EVENTS, body), tokens(6, 7));
}

const GEMINI_PARTS: [&str; 3] = [
    r#"{"candidates": [{"content": {"parts": [{"text": "The"}],"role": "model"},"index": 0}],"usageMetadata": {"promptTokenCount": 8,"totalTokenCount": 40,"promptTokensDetails": [{"modality": "TEXT","tokenCount": 8}],"thoughtsTokenCount": 32},"modelVersion": "gemini-2.5-flash","responseId": "x"}"#,
    r#"{"candidates": [{"content": {"parts": [{"text": " sky"}],"role": "model"},"index": 0}],"usageMetadata": {"trafficType": "ON_DEMAND"},"modelVersion": "gemini-2.5-flash"}"#,
    r#"{"candidates": [{"content": {"parts": [{"text": " is blue."}],"role": "model"},"finishReason": "STOP","index": 0}],"usageMetadata": {"promptTokenCount": 8,"candidatesTokenCount": 5,"totalTokenCount": 45,"promptTokensDetails": [{"modality": "TEXT","tokenCount": 8}],"thoughtsTokenCount": 32},"modelVersion": "gemini-2.5-flash"}"#,
];

#[test]
fn gemini_content() {
    assert_eq!(read(Usage::GEMINI, JSON, GEMINI_PARTS[2]), tokens(8, 37));
    let with_tools = r#"{"candidates":[],"usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":60,"candidatesTokenCount":20,"toolUsePromptTokenCount":30,"thoughtsTokenCount":10,"totalTokenCount":160}}"#;
    assert_eq!(read(Usage::GEMINI, JSON, with_tools), tokens(130, 30));
    let blocked = r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":9,"totalTokenCount":9}}"#;
    assert_eq!(read(Usage::GEMINI, JSON, blocked), tokens(9, 0));
}

#[test]
fn gemini_events() {
    let body = GEMINI_PARTS
        .map(|part| format!("data: {part}\r\n\r\n"))
        .concat();
    assert_eq!(read(Usage::GEMINI, EVENTS, &body), tokens(8, 37));
}

#[test]
fn gemini_array() {
    let body = format!("[{}\n]\n", GEMINI_PARTS.join("\n,\r\n"));
    assert_eq!(read(Usage::GEMINI, JSON, &body), tokens(8, 37));
}

#[test]
fn the_output_of_a_gemini_stream_is_told_at_its_end() {
    let answer = answer(EVENTS);
    let mut body = Usage::GEMINI.body(&(&answer).into()).expect("it is text");
    for part in GEMINI_PARTS {
        let news = body.chunk(format!("data: {part}\n\n").as_bytes());
        let expected = part.contains("prompt").then(|| input_only(8));
        assert_eq!(news, expected);
    }
    assert_eq!(body.end(), Some(tokens(8, 37)));
}

#[test]
fn the_first_byte_tells_what_kind_of_text_it_is() {
    let json = r#"{"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let events = format!("\u{feff}\n\ndata: {json}\n\n");
    for kind in [JSON, EVENTS, "text/plain"] {
        assert_eq!(read(Usage::OPENAI, kind, &events), tokens(1, 2));
        let marked = format!("\u{feff} \r\n{json}");
        assert_eq!(read(Usage::OPENAI, kind, &marked), tokens(1, 2));
        // Where no array is documented, none counts.
        assert_eq!(read(Usage::OPENAI, kind, &format!("[{json}]")), Cost::new());
    }
}

#[test]
fn data_of_several_lines_are_one_text() {
    let body = "data: {\"usage\":\ndata:{\"prompt_tokens\":1\r\ndata\rdata: ,\"completion_tokens\"\ndata::2}}\n\n";
    assert_eq!(read(Usage::OPENAI, EVENTS, body), tokens(1, 2));
}

#[test]
fn a_broken_event_does_not_spoil_the_next() {
    let body = "data: {\"usage\":{\"prompt_tokens\":5,\"x\":\"\n\ndata: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
    assert_eq!(read(Usage::OPENAI, EVENTS, body), tokens(1, 2));
}

#[test]
fn usage_that_stands_elsewhere_is_none_of_the_answer() {
    let usage = r#""usage":{"prompt_tokens":1000,"completion_tokens":1000,"total_tokens":2000}"#;
    let text = usage.replace('"', "\\\"");
    for body in [
        // In a text, and one that looks as if it had ended.
        format!(r#"{{"choices":[{{"message":{{"content":"{text}"}}}}]}}"#),
        format!(r#"{{"output_text":"\\\"}},{text}"}}"#),
        // In the arguments of tools, as objects.
        format!(r#"{{"choices":[{{"message":{{"tool_calls":[{{"input":{{{usage}}}}}]}}}}]}}"#),
        format!(r#"{{"content":[{{"type":"tool_use","input":{{{usage}}}}}]}}"#),
        // In what the client has sent along.
        format!(r#"{{"metadata":{{{usage}}}}}"#),
        // In an event's place, in an answer that is none.
        format!(r#"{{"response":{{{usage}}},"message":{{{usage}}}}}"#),
        // Not an object, or not one level below.
        format!(r#"{{"usage":[{{{usage}}}]}}"#),
        format!(r#"{{"usage":{{{usage}}}}}"#),
        r#"{"usage":5,"prompt_tokens":5,"input_tokens":5}"#.to_owned(),
    ] {
        for vendor in [Usage::OPENAI, Usage::ANTHROPIC, Usage::GEMINI] {
            assert_eq!(read(vendor, JSON, &body), Cost::new(), "{body}");
            let events = format!("event: x\n: {{{usage}}}\n{{{usage}}}\n\n");
            assert_eq!(read(vendor, EVENTS, &events), Cost::new());
        }
    }
}

#[test]
fn usage_counts_before_and_after_megabytes() {
    let usage = r#""usage":{"prompt_tokens":1,"completion_tokens":2}"#;
    let text = "\\\"usage\\\": ".repeat(100_000);
    let vector = "-0.009327292,".repeat(100_000);
    for body in [
        format!(r#"{{{usage},"choices":[{{"text":"{text}"}}]}}"#),
        format!(r#"{{"choices":[{{"text":"{text}"}}],{usage}}}"#),
        format!(r#"{{"data":[{{"embedding":[{vector}0]}}],{usage}}}"#),
    ] {
        let answer = answer(JSON);
        for len in [1_000, 16_384, body.len()] {
            let cost = settled(Usage::OPENAI, &answer, body.as_bytes().chunks(len));
            assert_eq!(cost, Some(tokens(1, 2)));
        }
        let event = format!("data: {body}\n\n");
        let cost = settled(Usage::OPENAI, &answer, event.as_bytes().chunks(1_000));
        assert_eq!(cost, Some(tokens(1, 2)));
    }
}

#[test]
fn numbers_that_are_none_are_ignored() {
    for n in [
        "-5",
        "5.0",
        "5e3",
        "\"5\"",
        "null",
        "99999999999999999999",
        "1e400",
        "[5]",
        "{}",
    ] {
        let body = format!(r#"{{"usage":{{"prompt_tokens":{n},"completion_tokens":2}}}}"#);
        let expected = Cost::new().of(Unit::OUTPUT_TOKENS, 2);
        assert_eq!(read(Usage::OPENAI, JSON, &body), expected, "{n}");
    }
}

#[test]
fn an_object_that_is_cut_short_says_nothing() {
    let body = r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":22"#;
    assert_eq!(read(Usage::OPENAI, JSON, body), Cost::new());
}

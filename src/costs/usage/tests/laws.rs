//! What holds of every body, however it is cut.

use proptest::{
    collection::{hash_map, vec},
    prelude::*,
    sample::select,
};
use serde_json::Value;

use super::*;

const VENDORS: [Usage; 3] = [Usage::OPENAI, Usage::ANTHROPIC, Usage::GEMINI];

/// Of which bodies are made that look like answers, and are mostly none.
const PARTS: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\n",
    "\r",
    "\r\n\r\n",
    "\n\n",
    "data:",
    "data: ",
    ": ping\n",
    "event: x\n",
    "\u{feff}",
    "null",
    "7",
    "12",
    "0",
    "-",
    "1.5",
    "\"usage\":",
    "\"usageMetadata\":{",
    "\"usage\":{",
    "\"response\":{",
    "\"message\":{",
    "\"prompt_tokens\":",
    "\"completion_tokens\":5",
    "\"total_tokens\":9",
    "\"input_tokens\":3",
    "\"output_tokens\":4",
    "\"cache_creation_input_tokens\":2",
    "\"promptTokenCount\":6",
    "\"totalTokenCount\":8",
    "\"text\":\"a\\\"b\",",
    "}}",
    "}}\n\n",
    "\n\ndata: {\"usage\":{",
];

/// Bodies that are answers.
const BODIES: [&str; 5] = [
    "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{\"}}],\"usage\":null}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":18,\"completion_tokens\":2,\"total_tokens\":20}}\n\ndata: [DONE]\n\n",
    "\u{feff}event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\r\n\r\nevent: message_delta\r\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":15}}\r\n\r\n",
    "event: response.completed\rdata: {\"response\":{\"output\":[{\"usage\":{\"input_tokens\":1}}],\"usage\":{\"input_tokens\":37,\"output_tokens\":11,\"total_tokens\":48}}}\r\r",
    "[{\"usageMetadata\": {\"promptTokenCount\": 8,\"totalTokenCount\": 8}}\n,\r\n{\"usageMetadata\": {\"promptTokenCount\": 8,\"candidatesTokenCount\": 5,\"totalTokenCount\": 13}}\n]",
    "{\"usage\":{\"prompt_tokens\":19,\"details\":{\"a\":[1,{\"b\":2}]},\"completion_tokens\":10},\"text\":\"a\\\\\"}",
];

/// The body in pieces that end where `cuts` say.
fn cut<'a>(body: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
    ends.push(body.len());
    ends.sort_unstable();
    let mut start = 0;
    let piece = |end| {
        let piece = &body[start..end];
        start = end;
        piece
    };
    ends.into_iter().map(piece).collect()
}

fn is_the_same_however_it_is_cut(body: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
    let answer = answer("text/event-stream");
    for usage in VENDORS {
        let whole = settled(usage, &answer, [body]);
        let bytes = settled(usage, &answer, body.chunks(1));
        let pieces = settled(usage, &answer, cut(body, cuts));
        prop_assert_eq!(&bytes, &whole);
        prop_assert_eq!(&pieces, &whole);
    }
    Ok(())
}

/// Names of members, some of which may matter.
const NAMES: [&str; 19] = [
    "usage",
    "response",
    "message",
    "usageMetadata",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
    "totalTokenCount",
    "text",
    "",
    "us\"age",
    "a name that is longer than all others",
];

/// An object, or an array in its stead.
fn any_collection(of: impl Strategy<Value = Value> + Clone) -> impl Strategy<Value = Value> {
    let array = vec(of.clone(), 0..4).prop_map(Value::from);
    let members = hash_map(select(NAMES.as_slice()), of, 0..12);
    let object = members.prop_map(|members| {
        let members = members.into_iter();
        members
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<Value>()
    });
    prop_oneof![1 => array, 6 => object]
}

fn any_number() -> impl Strategy<Value = Value> + Clone {
    prop_oneof![
        4 => (0..50_u64).prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
    ]
}

fn any_json() -> impl Strategy<Value = Value> + Clone {
    let text = "[a\"\\\\{}:,\n\u{e9}]{0,40}".prop_map(Value::from);
    let other = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-9.0..9.0_f64).prop_map(Value::from),
    ];
    let scalar = prop_oneof![6 => any_number(), 1 => text, 1 => other];
    scalar.prop_recursive(4, 60, 8, |inner| any_collection(inner).boxed())
}

/// What the tables say of a text that is there as a whole.
fn expected(usage: Usage, text: &Value) -> Cost {
    let (place, input, more_input, output, more_output, total): (_, &[&str], _, &[&str], _, _) =
        match usage {
            Usage::OPENAI => (
                "usage",
                &["prompt_tokens", "input_tokens"],
                "none",
                &["completion_tokens", "output_tokens"],
                "none",
                "total_tokens",
            ),
            Usage::ANTHROPIC => (
                "usage",
                &["input_tokens"],
                "cache_creation_input_tokens",
                &["output_tokens"],
                "none",
                "none",
            ),
            _ => (
                "usageMetadata",
                &["promptTokenCount"],
                "toolUsePromptTokenCount",
                &["candidatesTokenCount"],
                "thoughtsTokenCount",
                "totalTokenCount",
            ),
        };
    let get = |name: &str| {
        text.get(place)?
            .get(name)?
            .as_u64()
            .filter(|&n| n <= 1 << 53)
    };
    let greatest = |names: &[&str]| names.iter().filter_map(|name| get(name)).max();
    let sum = |one: Option<u64>, more: Option<u64>| {
        Some(one.unwrap_or(0) + more.unwrap_or(0)).filter(|_| one.or(more).is_some())
    };
    let input = sum(greatest(input), get(more_input));
    let output =
        sum(greatest(output), get(more_output)).or_else(|| get(total)?.checked_sub(input?));
    let mut cost = Cost::new();
    if let Some(n) = input {
        cost = cost.of(Unit::INPUT_TOKENS, n);
    }
    if let Some(n) = output {
        cost = cost.of(Unit::OUTPUT_TOKENS, n);
    }
    if get(total).is_some() || input.and(output).is_some() {
        let sum = input.unwrap_or(0) + output.unwrap_or(0);
        cost = cost.of(Unit::TOKENS, sum.max(get(total).unwrap_or(0)));
    }
    cost
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes_say_the_same_however_they_are_cut(
        body in vec(any::<u8>(), 0..200),
        cuts in vec(any::<usize>(), 0..6),
    ) {
        is_the_same_however_it_is_cut(&body, &cuts)?;
    }

    #[test]
    fn what_looks_like_an_answer_says_the_same_however_it_is_cut(
        parts in vec(select(PARTS.as_slice()), 0..60),
        cuts in vec(any::<usize>(), 0..6),
    ) {
        is_the_same_however_it_is_cut(parts.concat().as_bytes(), &cuts)?;
    }

    #[test]
    fn a_changed_answer_says_the_same_however_it_is_cut(
        body in select(BODIES.as_slice()),
        changes in vec((any::<usize>(), select(PARTS.as_slice()), 0..4_usize), 0..4),
        cuts in vec(any::<usize>(), 0..6),
    ) {
        let mut body = body.as_bytes().to_vec();
        for (at, part, drop) in changes {
            let at = at % (body.len() + 1);
            let end = body.len().min(at + drop);
            body.splice(at..end, part.bytes());
        }
        is_the_same_however_it_is_cut(&body, &cuts)?;
    }

    /// A parser that has the whole text comes to the same.
    #[test]
    fn it_agrees_with_a_parser(
        mut text in any_collection(any_json()),
        place in select(["usage", "usageMetadata", "none"].as_slice()),
        figures in any_collection(prop_oneof![4 => any_number(), 1 => any_json()]),
        is_pretty in any::<bool>(),
        cuts in vec(any::<usize>(), 0..6),
    ) {
        if let Some(members) = text.as_object_mut() {
            members.insert(place.to_owned(), figures);
        }
        let body = if is_pretty { serde_json::to_string_pretty(&text) } else { serde_json::to_string(&text) };
        let body = body.expect("it is JSON");
        let answer = answer("application/json");
        for usage in VENDORS {
            // Elsewhere an array says something.
            if text.is_object() || usage != Usage::GEMINI {
                let cost = settled(usage, &answer, cut(body.as_bytes(), &cuts));
                prop_assert_eq!(cost, Some(expected(usage, &text)));
            }
        }
    }

    /// Whatever the text says, only the usage beside it counts.
    #[test]
    fn no_text_is_mistaken_for_usage(parts in vec(select(PARTS.as_slice()), 0..40), cuts in vec(any::<usize>(), 0..6)) {
        let text = serde_json::to_string(&parts.concat()).expect("it is text");
        let inner = r#"{"usage":{"prompt_tokens":500},"usageMetadata":{"promptTokenCount":500}}"#;
        let body = format!(
            r#"{{"text":{text},"a":[{text},{inner}],"b":{{"text":{text},"c":{inner}}},"usage":{{"prompt_tokens":19,{text}:{text},"completion_tokens":10}},"d":{text}}}"#,
        );
        let answer = answer("application/json");
        let cost = settled(Usage::OPENAI, &answer, cut(body.as_bytes(), &cuts));
        prop_assert_eq!(cost, Some(tokens(19, 10)));
        let event = format!("data: {body}\n\n");
        let cost = settled(Usage::OPENAI, &answer, cut(event.as_bytes(), &cuts));
        prop_assert_eq!(cost, Some(tokens(19, 10)));
    }
}

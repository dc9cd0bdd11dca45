"""The official Python SDKs of OpenAI and Anthropic against `mock::llm`: what they get, and what they raise.

    llm.py shapes URL     every kind of answer, and each error
    llm.py limits URL     what is left, and refusals, without retries
    llm.py retries URL    a refusal that the SDK waits out by itself

URL is that of the mock, started as `tests/mock_llm_sdk.rs` does. Ends with a line of totals; the exit code is
1 if anything was not as it should be.
"""

import os
import sys
import time

for name in list(os.environ):
    if name.lower().endswith("_proxy") or name.startswith(("OPENAI_", "ANTHROPIC_")):
        del os.environ[name]

import anthropic
import openai

TEXT = "The first move is what sets everything in motion."
INPUT = -(-len(TEXT) // 4)
MODEL = "mock-1"

passed, failed = 0, []


def check(what, condition, detail=""):
    global passed
    if condition:
        passed += 1
    else:
        failed.append(what)
        print(f"python: FAILED: {what}: {detail}", flush=True)


def chat(url, retries=0):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=retries, timeout=30)
    return client.chat.completions


def messages(url, retries=0):
    client = anthropic.Anthropic(base_url=url, api_key="any", max_retries=retries, timeout=30)
    return client.messages


def asked(max_tokens=20, text=TEXT, **more):
    said = [{"role": "user", "content": text}]
    return {"model": MODEL, "max_tokens": max_tokens, "messages": said, **more}


def raised(what, call, kind):
    """A call that has to raise exactly this error, which is returned."""
    try:
        call()
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        check(f"{what}: type", type(error) is kind, repr(error))
        return error
    except Exception as error:  # What must not come.
        check(what, False, repr(error))
    else:
        check(what, False, "there was no error")
    return None


def strictly(what, model):
    """Whether a parsed answer is what its type says: the SDKs do not check."""
    try:
        type(model).model_validate(model.to_dict(mode="json"), strict=True)
        check(f"{what}: valid", True)
    except Exception as error:
        check(f"{what}: valid", False, error)


def shapes(url):
    answer = chat(url).create(**asked())
    strictly("openai", answer)
    usage, choice = answer.usage, answer.choices[0]
    check("openai: input", usage.prompt_tokens == INPUT, usage)
    check("openai: output", 1 <= usage.completion_tokens <= 20, usage)
    check("openai: total", usage.total_tokens == INPUT + usage.completion_tokens, usage)
    check("openai: text", len(choice.message.content) == 4 * usage.completion_tokens, choice)
    check("openai: role", choice.message.role == "assistant", choice)
    check("openai: reason", choice.finish_reason in ("stop", "length"), choice)
    check("openai: model", answer.model == MODEL and answer.object == "chat.completion", answer)
    check("openai: created", abs(answer.created - time.time()) < 60, answer.created)
    check("openai: request id", answer._request_id.startswith("req_"), answer._request_id)

    for include in (False, True):
        options = {"stream_options": {"include_usage": True}} if include else {}
        chunks = list(chat(url).create(**asked(stream=True, **options)))
        for chunk in chunks:
            strictly("openai stream", chunk)
        parts = [c.choices[0].delta.content or "" for c in chunks if c.choices]
        tokens = len("".join(parts)) // 4
        check("openai stream: tokens", sum(map(bool, parts)) == tokens, parts)
        check("openai stream: role", chunks[0].choices[0].delta.role == "assistant", chunks[0])
        reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
        check("openai stream: reason", [r for r in reasons if r] == reasons[-1:], reasons)
        usages = [c.usage for c in chunks if c.usage]
        check("openai stream: usage", len(usages) == include, usages)
        if include:
            check("openai stream: the last has it", not chunks[-1].choices, chunks[-1])
            check("openai stream: input", usages[0].prompt_tokens == INPUT, usages)
            check("openai stream: output", usages[0].completion_tokens == tokens, usages)

    with chat(url).stream(**asked(stream_options={"include_usage": True})) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    check("openai helper: events", "content.delta" in kinds and kinds[-2:], kinds)
    check("openai helper: usage", final.usage.prompt_tokens == INPUT, final)
    check("openai helper: text", len(final.choices[0].message.content) % 4 == 0, final)

    answer = messages(url).create(**asked())
    strictly("anthropic", answer)
    check("anthropic: input", answer.usage.input_tokens == INPUT, answer.usage)
    check("anthropic: output", 1 <= answer.usage.output_tokens <= 20, answer.usage)
    text = answer.content[0].text
    check("anthropic: text", len(text) == 4 * answer.usage.output_tokens, text)
    check("anthropic: reason", answer.stop_reason in ("end_turn", "max_tokens"), answer)
    check("anthropic: request id", answer._request_id.startswith("req_"), answer._request_id)

    events = list(messages(url).create(**asked(stream=True)))
    for event in events:
        strictly("anthropic stream", event)
    kinds = list(dict.fromkeys(event.type for event in events))
    expected = [
        "message_start", "content_block_start", "content_block_delta",
        "content_block_stop", "message_delta", "message_stop",
    ]
    check("anthropic stream: order", [k for k in kinds if k != "ping"] == expected, kinds)
    check("anthropic stream: input", events[0].message.usage.input_tokens == INPUT, events[0])
    deltas = [event for event in events if event.type == "content_block_delta"]
    check("anthropic stream: output", events[-2].usage.output_tokens == len(deltas), events[-2])

    with messages(url).stream(**asked()) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    strictly("anthropic helper", final)
    check("anthropic helper: input", final.usage.input_tokens == INPUT, final.usage)
    check("anthropic helper: output", 4 * final.usage.output_tokens == len(text), final.usage)
    check("anthropic helper: text", final.content[0].text == text, final)

    error = raised(
        "openai: nothing said",
        lambda: chat(url).create(model=MODEL, messages=[]),
        openai.BadRequestError,
    )
    check("openai: 400", error.param == "messages" and error.code == "empty_array", error.body)
    error = raised(
        "anthropic: nothing said",
        lambda: messages(url).create(model=MODEL, messages=[], max_tokens=1),
        anthropic.BadRequestError,
    )
    check("anthropic: 400", error.body["error"]["type"] == "invalid_request_error", error.body)
    check("anthropic: 400: words", "at least one message" in error.message, error.message)


def limits(url):
    raw = chat(url).with_raw_response.create(**asked())
    headers = raw.headers
    check("openai: limit", headers["x-ratelimit-limit-tokens"] == "100", headers)
    left = 100 - raw.parse().usage.total_tokens
    check("openai: remaining", headers["x-ratelimit-remaining-tokens"] == str(left), headers)
    check("openai: reset", headers["x-ratelimit-reset-requests"].endswith("s"), headers)
    error = raised(
        "openai: too many tokens",
        lambda: chat(url).create(**asked(text="x" * 380)),
        openai.RateLimitError,
    )
    check("openai: kind", (error.type, error.code) == ("tokens", "rate_limit_exceeded"), error.body)
    check("openai: words", "on tokens per min (TPM): Limit 100, Used" in error.message, error)
    wait = float(error.response.headers["retry-after-ms"])
    check("openai: wait", 0 < wait <= 60_000, error.response.headers)
    stream = lambda: list(chat(url).create(**asked(text="x" * 380, stream=True)))
    raised("openai: too many tokens in a stream", stream, openai.RateLimitError)
    error = raised(
        "openai: never",
        lambda: chat(url).create(**asked(text="x" * 500)),
        openai.RateLimitError,
    )
    check("openai: never: words", error.message.find("Request too large") >= 0, error.message)

    raw = messages(url).with_raw_response.create(**asked())
    headers = raw.headers
    check("anthropic: limit", headers["anthropic-ratelimit-input-tokens-limit"] == "100", headers)
    left = str(100 - INPUT)
    check("anthropic: left", headers["anthropic-ratelimit-input-tokens-remaining"] == left, headers)
    check("anthropic: reset", headers["anthropic-ratelimit-requests-reset"].endswith("Z"), headers)
    error = raised(
        "anthropic: too many tokens",
        lambda: messages(url).create(**asked(text="x" * 380)),
        anthropic.RateLimitError,
    )
    check("anthropic: kind", error.body["error"]["type"] == "rate_limit_error", error.body)
    check("anthropic: words", "100 input tokens per minute" in error.message, error.message)
    wait = int(error.response.headers["retry-after"])
    check("anthropic: wait", 0 < wait <= 60, error.response.headers)


def retries(url):
    """Two calls where one is allowed in two seconds: the SDKs wait, and come when they were told."""
    for name, api in (("openai", chat(url, 2)), ("anthropic", messages(url, 2))):
        began = time.monotonic()
        answers = [api.create(**asked(max_tokens=1)) for _ in range(2)]
        took = time.monotonic() - began
        check(f"{name}: both", len(answers) == 2)
        check(f"{name}: waited", 1.9 < took < 10, took)


MODES = {"shapes": shapes, "limits": limits, "retries": retries}

if __name__ == "__main__":
    mode, url = sys.argv[1:]
    MODES[mode](url)
    print(f"python llm {mode}: {passed} passed, {len(failed)} failed", flush=True)
    sys.exit(1 if failed else 0)

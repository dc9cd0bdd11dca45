"""An official Python SDK through the gateway: many calls at the same moment, and none may be refused.

    gateway.py openai|anthropic|elevenlabs plain|streamed N URL

URL is that of the gateway, started as `gateway/tests/gateway/sdks.rs` does. The SDK's own retries are off. Ends with
a line of totals; the exit code is 1 if anything was not as it should be.
"""

import asyncio
import os
import sys

OURS = ("OPENAI_", "ANTHROPIC_", "ELEVENLABS_")
for name in list(os.environ):
    if name.lower().endswith("_proxy") or name.startswith(OURS):
        del os.environ[name]

TEXT = "The first move is what sets everything in motion."
SAID = [{"role": "user", "content": TEXT}]
ASKED = {"model": "mock-1", "max_tokens": 20, "messages": SAID}
TIMEOUT = 120


def openai(url):
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=TIMEOUT)

    async def plain():
        answer = await client.chat.completions.create(**ASKED)
        return answer.choices[0].message.content

    async def streamed():
        more = {"stream": True, "stream_options": {"include_usage": True}}
        parts = [part async for part in await client.chat.completions.create(**ASKED, **more)]
        assert parts[-1].usage.completion_tokens > 0, parts[-1]
        return "".join(part.choices[0].delta.content or "" for part in parts if part.choices)

    return plain, streamed


def anthropic(url):
    from anthropic import AsyncAnthropic

    client = AsyncAnthropic(base_url=url, api_key="any", max_retries=0, timeout=TIMEOUT)

    async def plain():
        answer = await client.messages.create(**ASKED)
        return answer.content[0].text

    async def streamed():
        async with client.messages.stream(**ASKED) as stream:
            return "".join([text async for text in stream.text_stream])

    return plain, streamed


def elevenlabs(url):
    from elevenlabs.client import AsyncElevenLabs

    client = AsyncElevenLabs(base_url=url, api_key="good", timeout=TIMEOUT)
    speech = client.text_to_speech
    asked = {"voice_id": "21m00Tcm4TlvDq8ikWAM", "text": TEXT}
    asked["request_options"] = {"max_retries": 0}

    async def plain():
        return b"".join([chunk async for chunk in speech.convert(**asked)])

    async def streamed():
        return b"".join([chunk async for chunk in speech.stream(**asked)])

    return plain, streamed


async def main(sdk, how, n, url):
    plain, streamed = {"openai": openai, "anthropic": anthropic, "elevenlabs": elevenlabs}[sdk](url)
    call = {"plain": plain, "streamed": streamed}[how]
    outcomes = await asyncio.gather(*(call() for _ in range(int(n))), return_exceptions=True)
    answered = [outcome for outcome in outcomes if not isinstance(outcome, BaseException) and outcome]
    for outcome in outcomes:
        if outcome not in answered:
            print(f"python: FAILED: {sdk} {how}: {outcome!r}", flush=True)
    print(f"python gateway {sdk} {how}: {len(answered)} of {n} answered", flush=True)
    return len(answered) == int(n)


sys.exit(0 if asyncio.run(main(*sys.argv[1:])) else 1)

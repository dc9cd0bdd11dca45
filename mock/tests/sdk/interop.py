"""The official Python SDK against the mock: what it gets, and what it raises.

    interop.py all URL                       every endpoint, with success and with each error
    interop.py crowd URL ACCEPTED REFUSED    12 calls at once, without retries

URL is that of `mock_server`, started as `.ci/interop` does. Ends with a line of totals; the exit code
is 1 if anything was not as it should be.
"""

import base64
import json
import os
import sys
import threading
import time
import urllib.request

for name in list(os.environ):
    if name.lower().endswith("_proxy") or name.startswith("ELEVENLABS_"):
        del os.environ[name]

import httpx
from elevenlabs import VoiceSettings
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError
from elevenlabs.errors import UnprocessableEntityError

VOICE = "21m00Tcm4TlvDq8ikWAM"
TEXT = "The first move is what sets everything in motion."
ONCE = {"max_retries": 0}

# What a busy machine can be to blame for: the exit code is 3 if nothing else is wrong.
LATE = "crowd: refused within 50 ms"

passed, failed = 0, []


def check(what, condition, detail=""):
    global passed
    if condition:
        passed += 1
    else:
        failed.append(what)
        print(f"python: FAILED: {what}: {detail}", flush=True)


def control(url, method, resource, body=None):
    """Speaks to the mock itself."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/__mock__/{resource}", data, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def client(url, key="good"):
    return ElevenLabs(base_url=url, api_key=key, timeout=30)


def refused(what, call, status, word, kind=ApiError):
    """A call that has to raise an error with this status, and this word in its body."""
    try:
        result = call()
        # Some are generators, which ask only when they are read.
        if hasattr(result, "__next__"):
            list(result)
    except ApiError as error:
        detail = error.body.get("detail") if isinstance(error.body, dict) else None
        said = detail.get("status") if isinstance(detail, dict) else None
        check(f"{what}: type", type(error) is kind, type(error))
        check(f"{what}: status", error.status_code == status, error)
        if word is not None:
            check(f"{what}: {word}", said == word, error.body)
        return error
    except Exception as error:  # What must not come.
        check(what, False, repr(error))
    else:
        check(what, False, "there was no error")


def broken(what, call):
    """A call whose connection breaks; behind the gateway, the gateway says so."""
    try:
        result = call()
        if hasattr(result, "__next__"):
            list(result)
    except httpx.TransportError:
        check(what, True)
    except ApiError as error:
        by_gateway = "proxy-status" in (error.headers or {})
        check(what, error.status_code == 502 and by_gateway, repr(error))
    except Exception as error:
        check(what, False, repr(error))
    else:
        check(what, False, "there was no error")


def speech(url):
    sdk = client(url)
    tts = sdk.text_to_speech
    args = {"voice_id": VOICE, "text": TEXT, "model_id": "eleven_multilingual_v2"}

    audio = b"".join(tts.convert(**args, output_format="mp3_44100_128"))
    seconds = len(audio) / 16_000
    check("convert: MP3", audio[:2] == b"\xff\xfb", audio[:8])
    check("convert: length", abs(seconds - len(TEXT) / 16) < 0.1, seconds)
    raw = b"".join(tts.convert(**args, output_format="pcm_16000"))
    check("convert: PCM", not any(raw) and abs(len(raw) / 32_000 - len(TEXT) / 16) < 0.1)

    with tts.with_raw_response.convert(**args) as answer:
        list(answer.data)
        headers = answer.headers
        check("convert: request-id", len(headers.get("request-id", "")) == 20, headers)
        check("convert: character-cost", headers.get("character-cost") == str(len(TEXT)))
        check("convert: current", headers.get("current-concurrent-requests") == "1", headers)
        check("convert: maximum", headers.get("maximum-concurrent-requests") == "5", headers)
        item = headers.get("history-item-id")

    times = []
    chunks = []
    for chunk in tts.stream(**args, request_options={"chunk_size": 512}):
        times.append(time.monotonic())
        chunks.append(chunk)
    check("stream: all of it", b"".join(chunks) == audio, len(b"".join(chunks)))
    check("stream: in time", times[-1] - times[0] > 0.1, times[-1] - times[0])

    whole = tts.convert_with_timestamps(**args)
    check("timestamps: audio", base64.b64decode(whole.audio_base_64) == audio)
    check("timestamps: text", "".join(whole.alignment.characters) == TEXT)
    ends = whole.alignment.character_end_times_seconds
    check("timestamps: times", ends == sorted(ends) and abs(ends[-1] - len(TEXT) / 16) < 0.01)
    parts = list(tts.stream_with_timestamps(**args))
    joined = b"".join(base64.b64decode(part.audio_base_64) for part in parts)
    check("stream with timestamps: audio", joined == audio and len(parts) > 2, len(parts))
    text = "".join("".join(part.alignment.characters) for part in parts if part.alignment)
    check("stream with timestamps: text", text == TEXT, text)
    return item


def voices(url):
    sdk = client(url)
    files = [("sample.mp3", b"sample", "audio/mpeg"), ("other.mp3", b"other", "audio/mpeg")]
    made = sdk.voices.ivc.create(
        name="Narrator", files=files, description="A voice", labels={"accent": "en"}
    )
    check("ivc.create", made.requires_verification is False, made)
    bare = sdk.voices.ivc.create(name="Bare", files=[b"sample"])
    voice = sdk.voices.get(made.voice_id)
    check("voices.get: name", voice.name == "Narrator", voice)
    check("voices.get: labels", voice.labels == {"accent": "en"}, voice.labels)
    check("voices.get: samples", [s.size_bytes for s in voice.samples] == [6, 5], voice.samples)
    known = sdk.voices.get_all().voices
    check("voices.get_all", {made.voice_id, bare.voice_id} <= {v.voice_id for v in known})

    found, token = [], None
    while True:
        page = sdk.voices.search(page_size=3, next_page_token=token, sort="name")
        check("voices.search: page", len(page.voices) <= 3 and page.total_count == len(known))
        found += [voice.name for voice in page.voices]
        token = page.next_page_token
        if not page.has_more:
            break
    check("voices.search: all", found == sorted((v.name for v in known), key=str.lower), found)
    cloned = sdk.voices.search(search="narr", category="cloned").voices
    check("voices.search: found", [v.voice_id for v in cloned] == [made.voice_id], cloned)

    list(sdk.text_to_speech.convert(voice_id=made.voice_id, text="Hello"))
    check("voices.delete", sdk.voices.delete(made.voice_id).status == "ok")
    refused("get what was deleted", lambda: sdk.voices.get(made.voice_id), 400, "voice_not_found")
    refused("delete it again", lambda: sdk.voices.delete(made.voice_id), 400, "voice_not_found")
    refused(
        "speak with it",
        lambda: sdk.text_to_speech.convert(voice_id=made.voice_id, text="Hello"),
        404,
        "voice_not_found",
    )


def account(url, item):
    sdk = client(url)
    models = {model.model_id: model for model in sdk.models.list()}
    check("models.list", models["eleven_flash_v2_5"].concurrency_group == "turbo", models)
    check("user.get", sdk.user.get().subscription.tier == "creator")
    before = sdk.user.subscription.get()
    check("subscription: status", before.status == "active", before)
    flash = {"voice_id": VOICE, "text": "x" * 100, "model_id": "eleven_flash_v2_5"}
    list(sdk.text_to_speech.convert(**flash))
    after = sdk.user.subscription.get()
    used = after.character_count - before.character_count
    check("subscription: credits", used == 50, (before, after))

    first = sdk.history.list(page_size=2)
    check("history.list", first.has_more and first.history[0].text == "x" * 100, first)
    check("history.list: cost", first.history[0].character_count_change_to == after.character_count)
    after_id = first.last_history_item_id
    second = sdk.history.list(page_size=2, start_after_history_item_id=after_id)
    ids = [entry.history_item_id for entry in first.history + second.history]
    check("history.list: pages", len(set(ids)) == 4, ids)
    entry = sdk.history.get(item)
    check("history.get", entry.text == TEXT and entry.voice_name == "Rachel", entry)
    audio = b"".join(sdk.history.get_audio(item))
    check("history.get_audio", audio[:2] == b"\xff\xfb", audio[:8])
    check("history.delete", sdk.history.delete(item).status == "ok")
    refused("get a deleted item", lambda: sdk.history.get(item), 404, "history_item_not_found")


def refusals(url):
    good = client(url)
    plain = {"voice_id": VOICE, "text": TEXT}

    def speak(key="good", **other):
        sdk = client(url, key)
        return lambda: sdk.text_to_speech.convert(**{**plain, **other}, request_options=ONCE)

    refused("no key", speak(key=None), 401, "needs_authorization")
    refused("an unknown key", speak(key="bad"), 401, "invalid_api_key")
    refused("a disabled key", speak(key="off"), 401, "invalid_api_key")
    refused("suspicion", speak(key="odd"), 401, "detected_unusual_activity")
    refused("no credits", speak(key="poor"), 401, "quota_exceeded")
    mute = client(url, "mute").user
    refused("a missing permission", lambda: mute.get(), 401, "missing_permissions")
    nobody = client(url, None).models
    refused("models without a key", lambda: nobody.list(), 404, "workspace_not_found")
    settings = VoiceSettings.construct(stability=2)
    invalid = refused(
        "a setting out of range",
        speak(voice_settings=settings),
        422,
        None,
        UnprocessableEntityError,
    )
    if invalid:
        where = invalid.body["detail"][0]["loc"]
        check("422: loc", where == ["body", "voice_settings", "stability"], invalid.body)
    refused("422 before 401", speak(key="bad", voice_settings=settings), 422, None, UnprocessableEntityError)
    refused(
        "a clone without files",
        lambda: good.voices.ivc.create(name="x", files=[]),
        422,
        None,
        UnprocessableEntityError,
    )
    refused("an unknown voice", speak(voice_id="alloy"), 404, "voice_not_found")
    refused("an unknown model", speak(model_id="eleven_v9"), 400, "model_not_found")
    refused("an unknown format", speak(output_format="mp3_1_1"), 400, "invalid_output_format")
    refused("a format above the plan", speak(output_format="pcm_44100"), 403, "output_format_not_allowed")
    fast = VoiceSettings.construct(speed=3)
    refused("a speed out of range", speak(voice_settings=fast), 400, "invalid_voice_settings")
    refused("a library voice", speak(key="free", voice_id="LIB"), 402, "payment_required")
    free = client(url, "free").voices.ivc
    clone = lambda: free.create(name="x", files=[b"sample"])
    refused("a clone for free", clone, 400, "can_not_use_instant_voice_cloning")


def faults(url):
    sdk = client(url)
    plain = {"voice_id": VOICE, "text": TEXT, "request_options": ONCE}
    convert = lambda: sdk.text_to_speech.convert(**plain)
    stream = lambda: sdk.text_to_speech.stream(**plain)
    quota = lambda: sdk.user.subscription.get(request_options=ONCE)

    def schedule(**fault):
        control(url, "POST", "faults", fault)

    for call, name in [(convert, "convert"), (stream, "stream"), (quota, "subscription")]:
        schedule(kind="system_busy")
        busy = refused(f"busy: {name}", call, 429, "system_busy")
        check(f"busy: {name}: no hint", busy and "retry-after" not in busy.headers)
        schedule(kind="system_busy", gzip=True)
        refused(f"busy and compressed: {name}", call, 429, "system_busy")
        for status in [500, 502, 503]:
            schedule(kind="status", status=status)
            refused(f"{status}: {name}", call, status, None)
        html = "<html><body><h1>502 Bad Gateway</h1></body></html>"
        headers = {"content-type": "text/html"}
        schedule(kind="status", status=502, body=html, headers=headers)
        error = refused(f"HTML: {name}", call, 502, None)
        check(f"HTML: {name}: body", error and error.body == html, error)
        schedule(kind="reset")
        broken(f"reset: {name}", call)
        schedule(kind="reset_after", bytes=10)
        broken(f"reset in the middle: {name}", call)
    schedule(kind="cut_short", bytes=100)
    broken("cut short", convert)
    schedule(kind="slow_body", bytes=5_000, every_ms=50)
    check("slow body", len(b"".join(convert())) > 40_000)

    # The SDK's own retries, which keep to a Retry-After.
    for field in ["retry_after", "retry_after_date"]:
        control(url, "POST", "reset", {"score_only": True})
        schedule(kind="status", status=503, **{field: 1})
        begin = time.monotonic()
        sdk.user.subscription.get(request_options={"max_retries": 1})
        took = time.monotonic() - begin
        report = control(url, "GET", "report")
        check(f"{field}: kept", took > 0.5 and report["early"] == 0, (took, report["early"]))
    left = control(url, "DELETE", "faults")
    check("all faults have struck", left == {"cleared": 0}, left)


def everything(url):
    item = speech(url)
    voices(url)
    account(url, item)
    refusals(url)
    faults(url)


def crowd(url, accepted, refused_):
    """12 calls at the same moment: so many have to be accepted, and so many refused."""
    sdk = client(url)
    ready = threading.Barrier(12)
    outcomes = []

    def call():
        ready.wait()
        try:
            chunks = sdk.text_to_speech.convert(voice_id=VOICE, text="Hello", request_options=ONCE)
            outcomes.append(len(b"".join(chunks)))
        except ApiError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=call) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    score = control(url, "GET", "report")
    check("crowd: score", score["refused_by_concurrency"] == refused_, score)
    slowest = max(endpoint["slowest_refusal_ms"] for endpoint in score["endpoints"])
    check(LATE, slowest < 50, slowest)
    errors = [outcome for outcome in outcomes if isinstance(outcome, ApiError)]
    check("crowd: accepted", len(outcomes) - len(errors) == accepted, outcomes)
    check("crowd: refused", len(errors) == refused_, errors)
    for error in errors:
        detail = error.body["detail"]
        check("crowd: status", error.status_code == 429, error)
        check("crowd: code", detail["code"] == "concurrent_limit_exceeded", detail)
        check("crowd: message", "a maximum of 4 concurrent requests" in detail["message"], detail)
        check("crowd: id", detail["request_id"] == error.headers["x-trace-id"], error)
        check("crowd: compressed", error.headers.get("content-encoding") == "gzip", error.headers)
        check("crowd: chunked", error.headers.get("transfer-encoding") == "chunked", error.headers)
        for absent in ["retry-after", "request-id", "current-concurrent-requests"]:
            check(f"crowd: no {absent}", absent not in error.headers, error.headers)


def main():
    mode, url, *counts = sys.argv[1:]
    if mode == "all":
        everything(url)
    else:
        crowd(url, *map(int, counts))
    print(f"python {mode}: {passed} passed, {len(failed)} failed", flush=True)
    if failed == [LATE]:
        sys.exit(3)
    sys.exit(1 if failed else 0)


main()

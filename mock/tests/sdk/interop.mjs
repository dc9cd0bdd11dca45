// The official JavaScript SDK against the mock: what it gets, and what it throws.
//
//     interop.mjs all URL                       every endpoint, with success and with each error
//     interop.mjs crowd URL ACCEPTED REFUSED    12 calls at once, without retries
//
// URL is that of `mock_server`, started as `.ci/interop` does, and the SDK is looked for from the current
// directory. Ends with a line of totals; the exit code is 1 if anything was not as it should be.

import { createRequire } from "node:module";
import { join } from "node:path";

for (const name of Object.keys(process.env)) {
    if (name.startsWith("ELEVENLABS_")) delete process.env[name];
}

const require = createRequire(join(process.cwd(), "here.js"));
const { ElevenLabsClient, ElevenLabsError, ElevenLabs } = require("@elevenlabs/elevenlabs-js");

const VOICE = "21m00Tcm4TlvDq8ikWAM";
const TEXT = "The first move is what sets everything in motion.";

// What a busy machine can be to blame for: the exit code is 3 if nothing else is wrong.
const LATE = "crowd: refused within 50 ms";

let passed = 0;
const failed = [];

function check(what, condition, detail = "") {
    if (condition) {
        passed += 1;
    } else {
        failed.push(what);
        console.log(`javascript: FAILED: ${what}:`, detail);
    }
}

/** Speaks to the mock itself. */
async function control(url, method, resource, body) {
    const answer = await fetch(`${url}/__mock__/${resource}`, {
        method,
        body: body && JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
}

function client(url, apiKey = "good", maxRetries = 0) {
    return new ElevenLabsClient({ baseUrl: url, apiKey, maxRetries, timeoutInSeconds: 30 });
}

async function bytes(stream) {
    const chunks = [];
    for await (const chunk of stream) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks);
}

/** The status in the body of an error, which may have come as a stream. */
async function body(error) {
    let value = error.body;
    if (value && typeof value === "object" && Symbol.asyncIterator in value) {
        value = (await bytes(value)).toString();
    }
    if (typeof value === "string") {
        try {
            value = JSON.parse(value);
        } catch {
            // It is no JSON, and need not be.
        }
    }
    return value;
}

/** A call that has to throw an error with this status, and this word in its body. */
async function refused(what, call, status, word, kind = ElevenLabsError) {
    try {
        await call();
        check(what, false, "there was no error");
    } catch (error) {
        const said = await body(error);
        check(`${what}: type`, error.constructor === kind && error instanceof ElevenLabsError, error);
        check(`${what}: status`, error.statusCode === status, error);
        if (word) check(`${what}: ${word}`, said?.detail?.status === word, said);
        return { error, said };
    }
}

/** A call whose connection breaks; behind the gateway, the gateway says so. */
async function broken(what, call) {
    try {
        await call();
        check(what, false, "there was no error");
    } catch (error) {
        const status = error instanceof ElevenLabsError ? error.statusCode : undefined;
        const byGateway = error.rawResponse?.headers.has("proxy-status");
        check(what, status === undefined || (status === 502 && byGateway), error);
    }
}

async function speech(url) {
    const { textToSpeech: tts } = client(url);
    const args = { text: TEXT, modelId: "eleven_multilingual_v2" };

    const { data, rawResponse } = await tts
        .convert(VOICE, { ...args, outputFormat: "mp3_44100_128" })
        .withRawResponse();
    const audio = await bytes(data);
    check("convert: MP3", audio[0] === 0xff && audio[1] === 0xfb, audio.subarray(0, 8));
    const seconds = audio.length / 16_000;
    check("convert: length", Math.abs(seconds - TEXT.length / 16) < 0.1, seconds);
    const { headers } = rawResponse;
    check("convert: request-id", headers.get("request-id")?.length === 20, headers);
    check("convert: character-cost", headers.get("character-cost") === `${TEXT.length}`, headers);
    check("convert: current", headers.get("current-concurrent-requests") === "1", headers);
    check("convert: maximum", headers.get("maximum-concurrent-requests") === "5", headers);

    const times = [];
    const chunks = [];
    for await (const chunk of await tts.stream(VOICE, args)) {
        times.push(performance.now());
        chunks.push(Buffer.from(chunk));
    }
    check("stream: all of it", Buffer.concat(chunks).equals(audio));
    check("stream: in time", times.at(-1) - times[0] > 100, times);

    const whole = await tts.convertWithTimestamps(VOICE, args);
    check("timestamps: audio", Buffer.from(whole.audioBase64, "base64").equals(audio));
    check("timestamps: text", whole.alignment.characters.join("") === TEXT, whole.alignment);
    const parts = [];
    for await (const part of await tts.streamWithTimestamps(VOICE, args)) parts.push(part);
    const joined = Buffer.concat(parts.map((part) => Buffer.from(part.audioBase64, "base64")));
    check("stream with timestamps: audio", joined.equals(audio) && parts.length > 2, parts.length);
    const text = parts.flatMap((part) => part.alignment?.characters ?? []).join("");
    check("stream with timestamps: text", text === TEXT, text);
    return headers.get("history-item-id");
}

async function voices(url) {
    const { voices, textToSpeech } = client(url);
    const files = [new Blob(["sample"], { type: "audio/mpeg" }), new Blob(["other"])];
    const labels = JSON.stringify({ accent: "en" });
    const made = await voices.ivc.create({ name: "Narrator JS", files, description: "A voice", labels });
    check("ivc.create", made.requiresVerification === false, made);
    const voice = await voices.get(made.voiceId);
    check("voices.get: name", voice.name === "Narrator JS", voice);
    check("voices.get: labels", voice.labels?.accent === "en", voice.labels);
    check("voices.get: samples", voice.samples?.map((s) => s.sizeBytes).join() === "6,5", voice.samples);
    const known = (await voices.getAll()).voices;
    check("voices.getAll", known.some((v) => v.voiceId === made.voiceId), known);

    const found = [];
    let page;
    do {
        page = await voices.search({ pageSize: 3, nextPageToken: page?.nextPageToken, sort: "name" });
        check("voices.search: page", page.voices.length <= 3 && page.totalCount === known.length, page);
        found.push(...page.voices.map((v) => v.name));
    } while (page.hasMore);
    check("voices.search: all", found.length === known.length, found);

    check("voices.delete", (await voices.delete(made.voiceId)).status === "ok");
    await refused("get what was deleted", () => voices.get(made.voiceId), 400, "voice_not_found");
    await refused("delete it again", () => voices.delete(made.voiceId), 400, "voice_not_found");
    const speak = () => textToSpeech.convert(made.voiceId, { text: "Hello" });
    await refused("speak with it", speak, 404, "voice_not_found");
}

async function account(url, item) {
    const { models, user, history, textToSpeech } = client(url);
    const flash = (await models.list()).find((model) => model.modelId === "eleven_flash_v2_5");
    check("models.list", flash.concurrencyGroup === "turbo" && flash.languages.length > 1, flash);
    check("user.get", (await user.get()).subscription.tier === "creator");
    const before = await user.subscription.get();
    check("subscription: status", before.status === "active", before);
    const args = { text: "x".repeat(100), modelId: "eleven_flash_v2_5" };
    await bytes(await textToSpeech.convert(VOICE, args));
    const after = await user.subscription.get();
    check("subscription: credits", after.characterCount - before.characterCount === 50, after);

    const first = await history.list({ pageSize: 2 });
    check("history.list", first.hasMore && first.history[0].text === args.text, first);
    const next = { pageSize: 2, startAfterHistoryItemId: first.lastHistoryItemId };
    const second = await history.list(next);
    const ids = [...first.history, ...second.history].map((entry) => entry.historyItemId);
    check("history.list: pages", new Set(ids).size === 4, ids);
    const entry = await history.get(item);
    check("history.get", entry.text === TEXT && entry.voiceName === "Rachel", entry);
    const audio = await bytes(await history.getAudio(item));
    check("history.getAudio", audio[0] === 0xff && audio[1] === 0xfb, audio.subarray(0, 8));
    check("history.delete", (await history.delete(item)).status === "ok");
    await refused("get a deleted item", () => history.get(item), 404, "history_item_not_found");
}

async function refusals(url) {
    const speak = ({ key = "good", voice = VOICE, ...other } = {}) => () =>
        client(url, key).textToSpeech.convert(voice, { text: TEXT, ...other });
    const { UnprocessableEntityError: Unprocessable } = ElevenLabs;

    // This SDK insists on a key, so that an empty one stands for none.
    await refused("no key", speak({ key: "" }), 401, "needs_authorization");
    await refused("an unknown key", speak({ key: "bad" }), 401, "invalid_api_key");
    await refused("a disabled key", speak({ key: "off" }), 401, "invalid_api_key");
    await refused("suspicion", speak({ key: "odd" }), 401, "detected_unusual_activity");
    await refused("no credits", speak({ key: "poor" }), 401, "quota_exceeded");
    const mute = client(url, "mute");
    await refused("a missing permission", () => mute.user.get(), 401, "missing_permissions");
    const nobody = client(url, "");
    await refused("models without a key", () => nobody.models.list(), 404, "workspace_not_found");
    const settings = { stability: 2 };
    const wrong = speak({ voiceSettings: settings });
    const invalid = await refused("a setting out of range", wrong, 422, null, Unprocessable);
    const where = invalid?.said?.detail?.[0]?.loc?.join(".");
    check("422: loc", where === "body.voice_settings.stability", invalid?.said);
    const both = speak({ key: "bad", voiceSettings: settings });
    await refused("422 before 401", both, 422, null, Unprocessable);
    const noFiles = () => client(url).voices.ivc.create({ name: "x", files: [] });
    await refused("a clone without files", noFiles, 422, null, Unprocessable);
    await refused("an unknown voice", speak({ voice: "alloy" }), 404, "voice_not_found");
    await refused("an unknown model", speak({ modelId: "eleven_v9" }), 400, "model_not_found");
    const best = speak({ outputFormat: "pcm_44100" });
    await refused("a format above the plan", best, 403, "output_format_not_allowed");
    const fast = speak({ voiceSettings: { speed: 3 } });
    await refused("a speed out of range", fast, 400, "invalid_voice_settings");
    await refused("a library voice", speak({ key: "free", voice: "LIB" }), 402, "payment_required");
    const files = [new Blob(["sample"])];
    const clone = () => client(url, "free").voices.ivc.create({ name: "x", files });
    await refused("a clone for free", clone, 400, "can_not_use_instant_voice_cloning");
}

async function faults(url) {
    const sdk = client(url);
    const schedule = (fault) => control(url, "POST", "faults", fault);
    const calls = {
        convert: async () => bytes(await sdk.textToSpeech.convert(VOICE, { text: TEXT })),
        stream: async () => bytes(await sdk.textToSpeech.stream(VOICE, { text: TEXT })),
        subscription: () => sdk.user.subscription.get(),
    };
    for (const [name, call] of Object.entries(calls)) {
        await schedule({ kind: "system_busy" });
        const busy = await refused(`busy: ${name}`, call, 429, "system_busy");
        check(`busy: ${name}: no hint`, !busy?.error.rawResponse?.headers.has("retry-after"));
        await schedule({ kind: "system_busy", gzip: true });
        await refused(`busy and compressed: ${name}`, call, 429, "system_busy");
        for (const status of [500, 502, 503]) {
            await schedule({ kind: "status", status });
            await refused(`${status}: ${name}`, call, status);
        }
        const html = "<html><body><h1>502 Bad Gateway</h1></body></html>";
        const headers = { "content-type": "text/html" };
        await schedule({ kind: "status", status: 502, body: html, headers });
        const error = await refused(`HTML: ${name}`, call, 502);
        check(`HTML: ${name}: body`, JSON.stringify(error?.said ?? "").includes("Bad Gateway"), error);
        await schedule({ kind: "reset" });
        await broken(`reset: ${name}`, call);
        await schedule({ kind: "reset_after", bytes: 10 });
        await broken(`reset in the middle: ${name}`, call);
    }
    await schedule({ kind: "cut_short", bytes: 100 });
    await broken("cut short", calls.convert);
    await schedule({ kind: "slow_body", bytes: 5_000, every_ms: 50 });
    check("slow body", (await calls.convert()).length > 40_000);

    // The SDK's own retries, which keep to a Retry-After.
    for (const field of ["retry_after", "retry_after_date"]) {
        await control(url, "POST", "reset", { score_only: true });
        await schedule({ kind: "status", status: 503, [field]: 1 });
        const begin = performance.now();
        await client(url, "good", 1).user.subscription.get();
        const took = performance.now() - begin;
        const report = await control(url, "GET", "report");
        check(`${field}: kept`, took > 500 && report.early === 0, { took, early: report.early });
    }
    const left = await control(url, "DELETE", "faults");
    check("all faults have struck", left.cleared === 0, left);
}

/** 12 calls at the same moment: so many have to be accepted, and so many refused. */
async function crowd(url, accepted, refusedCount) {
    const { textToSpeech } = client(url);
    const call = async () => bytes(await textToSpeech.convert(VOICE, { text: "Hello" }));
    const outcomes = await Promise.allSettled(Array.from({ length: 12 }, call));
    const score = await control(url, "GET", "report");
    check("crowd: score", score.refused_by_concurrency === refusedCount, score);
    const slowest = Math.max(...score.endpoints.map((endpoint) => endpoint.slowest_refusal_ms));
    check(LATE, slowest < 50, slowest);
    const errors = outcomes.filter((o) => o.status === "rejected").map((o) => o.reason);
    check("crowd: accepted", outcomes.length - errors.length === accepted, outcomes);
    check("crowd: refused", errors.length === refusedCount, errors);
    for (const error of errors) {
        const detail = (await body(error))?.detail;
        const headers = error.rawResponse?.headers;
        check("crowd: status", error.statusCode === 429, error);
        check("crowd: code", detail?.code === "concurrent_limit_exceeded", detail);
        check("crowd: message", detail?.message.includes("a maximum of 4 concurrent requests"), detail);
        check("crowd: id", detail?.request_id === headers?.get("x-trace-id"), headers);
        for (const absent of ["retry-after", "request-id", "current-concurrent-requests"]) {
            check(`crowd: no ${absent}`, headers && !headers.has(absent), headers);
        }
    }
}

const [mode, url, ...counts] = process.argv.slice(2);
if (mode === "all") {
    const item = await speech(url);
    await voices(url);
    await account(url, item);
    await refusals(url);
    await faults(url);
} else {
    await crowd(url, ...counts.map(Number));
}
console.log(`javascript ${mode}: ${passed} passed, ${failed.length} failed`);
process.exit(failed.length === 0 ? 0 : failed.every((what) => what === LATE) ? 3 : 1);

//! What the mock ElevenLabs remembers: voices, history and credits, by workspace.

use super::support::{Ask, RACHEL, ms};
use serde_json::{Value, json};
use tokio::time::advance;
use tower_throttle_mock::{
    Limit, Work,
    elevenlabs::{Account, MockBuilder, MockElevenLabs, Voice},
};
use tower_throttle_plans::elevenlabs::Plan;

/// Nothing takes time, and nothing is limited.
fn quick() -> MockBuilder {
    MockElevenLabs::builder()
        .tts(Limit::unlimited(), Work::none())
        .clone_voice(Limit::unlimited(), Work::none())
}

async fn get(mock: &MockElevenLabs, path: &str) -> Value {
    Ask::get(path).send(mock).await.json()
}

async fn speak(mock: &MockElevenLabs, text: &str) -> String {
    let answer = Ask::speak(RACHEL, "", &json!({"text": text}))
        .send(mock)
        .await;
    answer.header("history-item-id").unwrap().to_owned()
}

async fn clone_voice(mock: &MockElevenLabs, name: &str) -> String {
    let ask = Ask::clone_voice(&[("name", name), ("files", "sample")]);
    let answer = ask.send(mock).await.json();
    answer["voice_id"].as_str().unwrap().to_owned()
}

fn ids(voices: &Value) -> Vec<&str> {
    let voices = voices["voices"].as_array().unwrap().iter();
    voices
        .map(|voice| voice["voice_id"].as_str().unwrap())
        .collect()
}

/// The names of an object's fields.
fn fields(object: &Value) -> Vec<&str> {
    object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_cloned_voice_is_there_until_it_is_deleted() {
    let mock = quick().known_voices_only().build();
    let parts = [
        ("name", "Narrator"),
        ("remove_background_noise", "false"),
        ("description", "A voice"),
        ("labels", r#"{"accent": "en"}"#),
        ("files", "sample"),
        ("files", "other one"),
    ];
    let made = Ask::clone_voice(&parts).send(&mock).await;
    assert_eq!(
        made.text(),
        r#"{"voice_id":"voice_id::7de19cb6","requires_verification":false}"#
    );
    let path = "/v1/voices/voice_id::7de19cb6";
    let voice = get(&mock, path).await;
    assert_eq!(voice["name"], "Narrator");
    assert_eq!(voice["category"], "cloned");
    assert_eq!(voice["description"], "A voice");
    assert_eq!(voice["labels"], json!({"accent": "en"}));
    let sizes = voice["samples"].as_array().unwrap().iter();
    let sizes: Vec<_> = sizes.map(|sample| &sample["size_bytes"]).collect();
    assert_eq!(sizes, [6, 9]);
    assert!(ids(&get(&mock, "/v1/voices").await).contains(&"voice_id::7de19cb6"));
    let found = get(&mock, "/v2/voices?search=narr").await;
    assert_eq!(ids(&found), ["voice_id::7de19cb6"]);
    let body = json!({"text": "a"});
    let speech = Ask::speak("voice_id::7de19cb6", "", &body);
    assert_eq!(speech.send(&mock).await.status(), 200);

    let deleted = Ask::new("DELETE", path).send(&mock).await;
    assert_eq!(deleted.text(), r#"{"status":"ok"}"#);
    for method in ["GET", "DELETE"] {
        let gone = Ask::new(method, path).send(&mock).await;
        assert_eq!(gone.refusal(), (400, "voice_not_found".to_owned()));
    }
    let speech = Ask::speak("voice_id::7de19cb6", "", &body);
    let refused = speech.send(&mock).await.refusal();
    assert_eq!(refused, (404, "voice_not_found".to_owned()));
    assert!(ids(&get(&mock, "/v2/voices?search=narr").await).is_empty());
    // Those that come with the API stay.
    let rachel = Ask::new("DELETE", format!("/v1/voices/{RACHEL}"));
    assert_eq!(rachel.send(&mock).await.status(), 400);
}

#[tokio::test(start_paused = true)]
async fn any_voice_can_speak_by_default_but_not_one_that_was_deleted() {
    let mock = quick().build();
    let body = json!({"text": "a"});
    let speak = async |voice: &str| Ask::speak(voice, "", &body).send(&mock).await.status();
    assert_eq!(speak("anybody").await, 200);
    let id = clone_voice(&mock, "a").await;
    Ask::new("DELETE", format!("/v1/voices/{id}"))
        .send(&mock)
        .await;
    assert_eq!(speak(&id).await, 404);
    assert_eq!(clone_voice(&mock, "a").await, id);
    assert_eq!(speak(&id).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_plan_has_so_many_voices_of_ones_own() {
    let mock = quick()
        .plan(Plan::Starter)
        .voice(Voice::cloned("old", "Old"))
        .build();
    for n in 1..10 {
        clone_voice(&mock, &format!("voice {n}")).await;
    }
    let one_more = Ask::clone_voice(&[("name", "one more"), ("files", "b")]);
    let refused = one_more.send(&mock).await;
    assert_eq!(refused.refusal(), (400, "voice_limit_reached".to_owned()));
    let message = "You have reached your maximum amount of custom voices (10 / 10). You can upgrade \
                   your subscription to increase your custom voice limit.";
    assert_eq!(refused.json()["detail"]["message"], message);
    // The same again is no new one.
    clone_voice(&mock, "voice 1").await;
    let subscription = get(&mock, "/v1/user/subscription").await;
    assert_eq!(subscription["voice_slots_used"], 10);
    assert_eq!(subscription["voice_limit"], 10);
    assert_eq!(subscription["voice_add_edit_counter"], 10);
    Ask::new("DELETE", "/v1/voices/old").send(&mock).await;
    clone_voice(&mock, "one more").await;
}

#[tokio::test(start_paused = true)]
async fn voices_come_page_by_page() {
    let mock = quick().build();
    for name in ["c", "b", "a"] {
        clone_voice(&mock, name).await;
    }
    let all = get(&mock, "/v1/voices").await;
    let first = get(&mock, "/v2/voices?page_size=5").await;
    assert_eq!(first["has_more"], true);
    assert_eq!(first["total_count"], 9);
    let token = first["next_page_token"].as_str().unwrap();
    let second = get(
        &mock,
        &format!("/v2/voices?page_size=5&next_page_token={token}"),
    )
    .await;
    assert_eq!(
        (&second["has_more"], &second["next_page_token"]),
        (&json!(false), &json!(null))
    );
    let pages = [ids(&first), ids(&second)].concat();
    assert_eq!(pages, ids(&all));
    let bad = Ask::get("/v2/voices?page_size=0").send(&mock).await;
    assert_eq!(bad.refusal(), (422, "greater_than_equal".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_was_spoken_is_in_the_history_until_it_is_deleted() {
    let mock = quick().build();
    let text = "Once upon a time, long ago";
    let body = json!({"text": text, "voice_settings": {"stability": 0.5}});
    let spoken = Ask::speak(RACHEL, "?output_format=mp3_22050_32", &body)
        .send(&mock)
        .await;
    let id = spoken.header("history-item-id").unwrap();
    let item = get(&mock, &format!("/v1/history/{id}")).await;
    assert_eq!(item["request_id"], spoken.header("request-id").unwrap());
    assert_eq!(item["text"], text);
    assert_eq!(item["voice_name"], "Rachel");
    assert_eq!(item["voice_category"], "premade");
    assert_eq!(item["model_id"], "eleven_multilingual_v2");
    assert_eq!(item["content_type"], "audio/mpeg");
    assert_eq!(item["output_format"], "mp3_22050_32");
    assert_eq!(item["settings"], json!({"stability": 0.5}));
    assert_eq!(item["character_count_change_from"], 0);
    assert_eq!(item["character_count_change_to"], 26);
    let audio = Ask::get(format!("/v1/history/{id}/audio"))
        .send(&mock)
        .await;
    assert_eq!(audio.bytes(), spoken.bytes());
    assert_eq!(audio.header("content-type"), Some("audio/mpeg"));

    let path = format!("/v1/history/{id}");
    let deleted = Ask::new("DELETE", &path).send(&mock).await;
    assert_eq!(deleted.text(), r#"{"status":"ok"}"#);
    for (method, path) in [
        ("GET", path.clone()),
        ("DELETE", path.clone()),
        ("GET", path + "/audio"),
    ] {
        let gone = Ask::new(method, path).send(&mock).await;
        assert_eq!(gone.refusal(), (404, "history_item_not_found".to_owned()));
    }
    assert_eq!(get(&mock, "/v1/history").await["history"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn the_history_comes_page_by_page_the_newest_first() {
    let mock = quick().build();
    let mut spoken = Vec::new();
    for n in 0..5 {
        spoken.push(speak(&mock, &format!("text {n}")).await);
        advance(ms(1_000)).await;
    }
    spoken.reverse();
    let page = async |query: String| {
        let page = get(&mock, &format!("/v1/history?page_size=2{query}")).await;
        let items = page["history"].as_array().unwrap().iter();
        let ids = items.map(|item| item["history_item_id"].as_str().unwrap().to_owned());
        let ids: Vec<_> = ids.collect();
        assert_eq!(
            page["last_history_item_id"].as_str(),
            ids.last().map(String::as_str)
        );
        (ids, page["has_more"].as_bool().unwrap())
    };
    let after = |id: &String| format!("&start_after_history_item_id={id}");
    assert_eq!(page(String::new()).await, (spoken[..2].to_vec(), true));
    assert_eq!(page(after(&spoken[1])).await, (spoken[2..4].to_vec(), true));
    assert_eq!(page(after(&spoken[3])).await, (spoken[4..].to_vec(), false));
    assert_eq!(
        page("&search=text+3".into()).await,
        (spoken[1..2].to_vec(), false)
    );
    let bad = Ask::get("/v1/history?page_size=x").send(&mock).await;
    assert_eq!(bad.refusal(), (422, "int_parsing".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_logged_is_not_remembered() {
    let mock = quick().build();
    let ask = Ask::speak(RACHEL, "?enable_logging=false", &json!({"text": "a"}));
    let answer = ask.send(&mock).await;
    assert_eq!(answer.header("history-item-id"), None);
    assert!(answer.header("request-id").is_some());
    assert_eq!(get(&mock, "/v1/history").await["history"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn credits_are_counted_by_the_models_price_and_run_out() {
    let mock = quick().plan(Plan::Free).credits(100).build();
    let speak = async |model: &str, characters: usize| {
        let body = json!({"text": "ä".repeat(characters), "model_id": model});
        let answer = Ask::speak(RACHEL, "", &body).send(&mock).await;
        let cost = answer.header("character-cost").map(str::to_owned);
        cost.ok_or_else(|| answer.json()["detail"]["message"].to_string())
    };
    let used = async || get(&mock, "/v1/user/subscription").await["character_count"].clone();
    assert_eq!(speak("eleven_multilingual_v2", 52).await.unwrap(), "52");
    assert_eq!(speak("eleven_flash_v2_5", 52).await.unwrap(), "26");
    assert_eq!(used().await, 78);
    let refused = speak("eleven_multilingual_v2", 23).await.unwrap_err();
    assert!(refused.contains(
        "This request exceeds your quota of 100. You have 22 credits remaining, while 23 credits are \
         required for this request."
    ));
    assert_eq!(used().await, 78);
    assert_eq!(speak("eleven_multilingual_v2", 22).await.unwrap(), "22");
    assert_eq!(speak("eleven_multilingual_v2", 0).await.unwrap(), "0");
    assert!(speak("eleven_flash_v2_5", 1).await.is_err());

    mock.reset_all();
    assert_eq!(used().await, 0);
    assert_eq!(get(&mock, "/v1/history").await["history"], json!([]));
}

/// Who is accepted pays at once, so that those who come meanwhile cannot spend it again.
#[tokio::test(start_paused = true)]
async fn nobody_spends_more_than_there_is_and_refusals_cost_nothing() {
    let mock = MockElevenLabs::builder()
        .tts(Limit::concurrent(2), Work::fixed(ms(1_000)))
        .credits(10)
        .build();
    let five = || Ask::speak("a", "", &json!({"text": "12345"}));
    let first = five().call(&mock);
    let six = Ask::speak("a", "", &json!({"text": "123456"}))
        .send(&mock)
        .await;
    assert_eq!(six.refusal(), (401, "quota_exceeded".to_owned()));
    let second = five().call(&mock);
    let third = five().send(&mock).await;
    assert_eq!(third.refusal(), (401, "quota_exceeded".to_owned()));
    let free = Ask::speak("a", "", &json!({"text": ""})).send(&mock).await;
    assert_eq!(free.refusal().0, 429);
    assert_eq!(first.await.unwrap().status(), 200);
    assert_eq!(second.await.unwrap().status(), 200);
    let subscription = get(&mock, "/v1/user/subscription").await;
    assert_eq!(subscription["character_count"], 10);
    assert_eq!(subscription["character_limit"], 10);
}

#[tokio::test(start_paused = true)]
async fn workspaces_know_nothing_of_each_other() {
    let team = || Account::new(Plan::Creator).workspace("team");
    let mock = quick()
        .key("one", team().credits(1_000))
        .key("two", team())
        .key("other", Account::new(Plan::Pro))
        .build();
    let ask = async |ask: Ask, key: &str| ask.key(key).send(&mock).await.json();
    let form = || Ask::clone_voice(&[("name", "a"), ("files", "b")]);
    let id = ask(form(), "one").await["voice_id"]
        .as_str()
        .unwrap()
        .to_owned();
    Ask::speak(RACHEL, "", &json!({"text": "Hello"}))
        .key("one")
        .send(&mock)
        .await;

    let voice = |id: &str| Ask::get(format!("/v1/voices/{id}"));
    assert_eq!(ask(voice(&id), "two").await["name"], "a");
    assert_eq!(
        ask(voice(&id), "other").await["detail"]["code"],
        "voice_not_found"
    );
    let history = || Ask::get("/v1/history");
    assert_eq!(ask(history(), "two").await["history"][0]["text"], "Hello");
    assert_eq!(ask(history(), "other").await["history"], json!([]));
    let user = async |key: &str| {
        let user = ask(Ask::get("/v1/user"), key).await;
        let subscription = &user["subscription"];
        let (tier, count) = (
            subscription["tier"].clone(),
            subscription["character_count"].clone(),
        );
        let limit = subscription["character_limit"].clone();
        (user["workspace_id"].clone(), tier, count, limit)
    };
    let team = (json!("team"), json!("creator"), json!(5), json!(1_000));
    assert_eq!(user("one").await, team);
    assert_eq!(user("two").await, team);
    let other = (json!("workspace-3"), json!("pro"), json!(0), json!(500_000));
    assert_eq!(user("other").await, other);
}

#[tokio::test(start_paused = true)]
async fn a_workspace_may_be_named_like_the_one_without_keys() {
    let account = Account::new(Plan::Scale).workspace("default");
    let mock = quick().key("one", account).build();
    let user = Ask::get("/v1/user").key("one").send(&mock).await.json();
    assert_eq!(user["subscription"]["tier"], "scale");
}

#[tokio::test(start_paused = true)]
async fn subscriptions_say_what_their_plan_allows() {
    let subscription = async |mock: MockBuilder, key: &str| {
        let mock = mock.build();
        let ask = Ask::get("/v1/user/subscription").key(key);
        ask.send(&mock).await.json()
    };
    let said = |subscription: &Value| {
        let field = |name: &str| subscription[name].to_string().replace('"', "");
        let names = [
            "tier",
            "status",
            "character_limit",
            "can_use_instant_voice_cloning",
        ];
        names.map(field).join(" ")
    };
    for (plan, expected) in [
        (Plan::Free, "free free 10000 false"),
        (Plan::Starter, "starter active 30000 true"),
        (Plan::Business, "business active 11000000 true"),
    ] {
        assert_eq!(said(&subscription(quick().plan(plan), "").await), expected);
    }
    assert_eq!(
        said(&subscription(quick(), "").await),
        "enterprise active 1000000000 true"
    );
    let odd = quick().key("odd", Account::new(Plan::Free).unusual_activity());
    assert_eq!(
        said(&subscription(odd, "odd").await),
        "free free_disabled 10000 false"
    );
}

/// What the strictest clients known insist on.
#[tokio::test(start_paused = true)]
async fn objects_have_every_field_that_a_client_needs() {
    let mock = quick().plan(Plan::Creator).build();
    let subscription = get(&mock, "/v1/user/subscription").await;
    let needed = "tier character_count character_limit max_credit_limit_extension \
                  can_extend_character_limit allowed_to_extend_character_limit voice_slots_used \
                  professional_voice_slots_used professional_voice_slots_used_in_workspace voice_limit \
                  voice_add_edit_counter professional_voice_limit can_extend_voice_limit \
                  can_use_instant_voice_cloning can_use_professional_voice_cloning current_overage \
                  status open_invoices has_open_invoices next_character_count_reset_unix";
    for name in needed.split_whitespace() {
        assert!(!subscription[name].is_null(), "{name}");
    }
    let user = get(&mock, "/v1/user").await;
    let needed = "user_id workspace_id subscription is_new_user can_use_delayed_payment_methods \
                  is_onboarding_completed is_onboarding_checklist_completed created_at seat_type \
                  subscription_extras xi_api_key";
    for name in needed.split_whitespace() {
        assert!(!user[name].is_null(), "{name}");
    }
    let nested = fields(&user["subscription"]);
    assert!(!nested.contains(&"open_invoices") && nested.contains(&"tier"));

    let models = get(&mock, "/v1/models").await;
    for model in models.as_array().unwrap() {
        for name in ["model_id", "name", "description"] {
            assert!(model[name].is_string(), "{name}");
        }
        for name in [
            "token_cost_factor",
            "max_characters_request_free_user",
            "max_characters_request_subscribed_user",
            "maximum_text_length_per_request",
        ] {
            assert!(model[name].is_number(), "{name}");
        }
        for name in [
            "can_be_finetuned",
            "can_do_text_to_speech",
            "can_do_voice_conversion",
            "can_use_style",
            "can_use_speaker_boost",
            "serves_pro_voices",
            "requires_alpha_access",
        ] {
            assert!(model[name].is_boolean(), "{name}");
        }
        assert!(model["languages"][0]["language_id"].is_string());
        assert!(model["model_rates"]["character_cost_multiplier"].is_number());
        let group = model["concurrency_group"].as_str().unwrap();
        let turbo = ["flash", "turbo"].iter().any(|word| {
            let id = model["model_id"].as_str().unwrap();
            id.contains(word)
        });
        assert_eq!(group, if turbo { "turbo" } else { "standard" });
    }
}

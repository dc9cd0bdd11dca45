//! The models that the mock has.

use serde_json::{Value, json};

use tower_throttle_plans::elevenlabs::Family;

/// What a request that names no model is spoken with.
pub(super) const DEFAULT: &str = "eleven_multilingual_v2";

#[derive(Debug)]
pub(super) struct Model {
    pub(super) id: &'static str,
    name: &'static str,
    /// Credits for a hundred characters.
    percent: u64,
    /// How long a text may be.
    pub(super) characters: usize,
    languages: &'static [(&'static str, &'static str)],
    /// Whether a request may say what comes before and after its text.
    pub(super) takes_context: bool,
}

const ENGLISH: &[(&str, &str)] = &[("en", "English")];

const MANY: &[(&str, &str)] = &[
    ("en", "English"),
    ("ja", "Japanese"),
    ("zh", "Chinese"),
    ("de", "German"),
    ("hi", "Hindi"),
    ("fr", "French"),
    ("ko", "Korean"),
    ("pt", "Portuguese"),
    ("it", "Italian"),
    ("es", "Spanish"),
];

/// Prices: an account was seen to pay 52 credits with Multilingual and 26 with Flash for the same text,
/// and 3 for 12 characters with v3.
static MODELS: [Model; 8] = [
    model(
        "eleven_multilingual_v2",
        "Eleven Multilingual v2",
        100,
        10_000,
        MANY,
    ),
    model("eleven_flash_v2_5", "Eleven Flash v2.5", 50, 40_000, MANY),
    Model {
        takes_context: false,
        ..model("eleven_v3", "Eleven v3", 25, 5_000, MANY)
    },
    model("eleven_turbo_v2_5", "Eleven Turbo v2.5", 50, 40_000, MANY),
    model("eleven_turbo_v2", "Eleven Turbo v2", 50, 30_000, ENGLISH),
    model("eleven_flash_v2", "Eleven Flash v2", 50, 30_000, ENGLISH),
    model(
        "eleven_multilingual_v1",
        "Eleven Multilingual v1",
        100,
        10_000,
        MANY,
    ),
    model(
        "eleven_monolingual_v1",
        "Eleven English v1",
        100,
        10_000,
        ENGLISH,
    ),
];

const fn model(
    id: &'static str,
    name: &'static str,
    percent: u64,
    characters: usize,
    languages: &'static [(&'static str, &'static str)],
) -> Model {
    Model {
        id,
        name,
        percent,
        characters,
        languages,
        takes_context: true,
    }
}

pub(super) fn find(id: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.id == id)
}

/// Every field that any client is known to insist on.
pub(super) fn list() -> Value {
    MODELS.iter().map(Model::json).collect()
}

impl Model {
    pub(super) fn family(&self) -> Family {
        Family::of_model(self.id)
    }

    /// What a text costs.
    pub(super) fn credits(&self, characters: usize) -> u64 {
        (characters as u64 * self.percent).div_ceil(100)
    }

    fn json(&self) -> Value {
        // The only values that the strictest client takes.
        let group = match self.family() {
            Family::Flash => "turbo",
            _ => "standard",
        };
        let language = |(id, name): &(&str, &str)| json!({"language_id": id, "name": name});
        #[allow(clippy::cast_precision_loss)] // At most a hundred.
        let cost = self.percent as f64 / 100.0;
        json!({
            "model_id": self.id,
            "name": self.name,
            "can_be_finetuned": true,
            "can_do_text_to_speech": true,
            "can_do_voice_conversion": false,
            "can_use_style": true,
            "can_use_speaker_boost": true,
            "serves_pro_voices": false,
            "token_cost_factor": cost,
            "description": "A model of the mock.",
            "requires_alpha_access": false,
            "max_characters_request_free_user": self.characters.min(2_500),
            "max_characters_request_subscribed_user": self.characters,
            "maximum_text_length_per_request": self.characters,
            "languages": self.languages.iter().map(language).collect::<Value>(),
            "model_rates": {"character_cost_multiplier": cost, "cost_discount_multiplier": 1.0},
            "concurrency_group": group,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_those_that_were_seen() {
        let credits = |id, characters| find(id).unwrap().credits(characters);
        assert_eq!(credits("eleven_multilingual_v2", 52), 52);
        assert_eq!(credits("eleven_flash_v2_5", 52), 26);
        assert_eq!(credits("eleven_flash_v2_5", 53), 27);
        assert_eq!(credits("eleven_v3", 12), 3);
        assert_eq!(credits("eleven_v3", 0), 0);
    }

    #[test]
    fn the_default_is_one_of_them() {
        assert_eq!(find(DEFAULT).unwrap().family(), Family::Multilingual);
    }
}

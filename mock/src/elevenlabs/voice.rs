//! Voices: those that every workspace has, and those that were cloned.

use serde_json::{Map, Value, json};

/// A voice that the mock has from the start: see [`MockBuilder::voice`](super::MockBuilder::voice).
#[derive(Clone, Debug, PartialEq)]
pub struct Voice {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) category: Category,
    description: Option<String>,
    labels: Map<String, Value>,
    samples: Vec<Sample>,
    pub(super) created_unix: u64,
}

/// Where a voice comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Category {
    /// One of the API's own.
    Premade,
    /// Of this workspace.
    Cloned,
    /// From the library of other users' voices.
    Library,
}

/// What a voice was cloned from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) id: String,
    pub(super) file_name: String,
    pub(super) mime_type: String,
    pub(super) size: usize,
    pub(super) hash: String,
}

/// What a request to clone a voice says of it.
#[derive(Debug)]
pub(super) struct Details {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) labels: Map<String, Value>,
    pub(super) samples: Vec<Sample>,
}

impl Voice {
    /// A voice that comes with the API, as `21m00Tcm4TlvDq8ikWAM` ("Rachel") does. It cannot be deleted.
    pub fn premade(id: impl Into<String>, name: impl Into<String>) -> Self {
        Self::new(id.into(), name.into(), Category::Premade)
    }

    /// A voice that a workspace has cloned before.
    pub fn cloned(id: impl Into<String>, name: impl Into<String>) -> Self {
        Self::new(id.into(), name.into(), Category::Cloned)
    }

    /// A voice from the library of voices, which is not for users of the free plan.
    pub fn library(id: impl Into<String>, name: impl Into<String>) -> Self {
        Self::new(id.into(), name.into(), Category::Library)
    }

    fn new(id: String, name: String, category: Category) -> Self {
        Self {
            id,
            name,
            category,
            description: None,
            labels: Map::new(),
            samples: Vec::new(),
            created_unix: 0,
        }
    }

    pub(super) fn made_of(id: String, details: Details, created_unix: u64) -> Self {
        Self {
            description: details.description,
            labels: details.labels,
            samples: details.samples,
            created_unix,
            ..Self::new(id, details.name, Category::Cloned)
        }
    }

    /// Those that the API had in 2025, or some of them.
    pub(super) fn all_premade() -> Vec<Self> {
        [
            ("21m00Tcm4TlvDq8ikWAM", "Rachel", "female", "american"),
            ("EXAVITQu4vr4xnSDxMaL", "Sarah", "female", "american"),
            ("JBFqnCBsd6RMkjVDRZzb", "George", "male", "british"),
            ("IKne3meq5aSn9XLyUdCD", "Charlie", "male", "australian"),
            ("XB0fDUnXU5powFXDhCwa", "Charlotte", "female", "swedish"),
            ("pNInz6obpgDQGcFmaJgB", "Adam", "male", "american"),
        ]
        .map(|(id, name, gender, accent)| {
            let mut voice = Self::premade(id, name);
            voice.labels.insert("accent".into(), accent.into());
            voice.labels.insert("gender".into(), gender.into());
            voice
        })
        .into()
    }

    /// What `category` and `voice_type` call it.
    pub(super) fn category_name(&self) -> &'static str {
        match self.category {
            Category::Premade => "premade",
            Category::Cloned => "cloned",
            Category::Library => "professional",
        }
    }

    /// Whether the search of the list finds it.
    pub(super) fn is_about(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let labels = self.labels.values().filter_map(Value::as_str);
        let mut words = [Some(&*self.name), self.description.as_deref()]
            .into_iter()
            .flatten()
            .chain([self.category_name()])
            .chain(labels);
        words.any(|word| word.to_lowercase().contains(&text))
    }

    /// Every field that any client is known to insist on, and those that clients show.
    pub(super) fn json(&self) -> Value {
        let owned = self.category == Category::Cloned;
        json!({
            "voice_id": self.id,
            "name": self.name,
            "samples": if owned { self.samples.iter().map(Sample::json).collect() } else { Value::Null },
            "category": self.category_name(),
            "fine_tuning": {
                "is_allowed_to_fine_tune": owned,
                "state": {},
                "verification_failures": [],
                "verification_attempts_count": 0,
                "manual_verification_requested": false,
                "language": null,
                "progress": {},
                "message": {},
                "dataset_duration_seconds": null,
                "verification_attempts": null,
                "slice_ids": null,
                "manual_verification": null,
                "max_verification_attempts": 5,
                "next_max_verification_attempts_reset_unix_ms": null,
            },
            "labels": self.labels,
            "description": self.description,
            "preview_url": null,
            "available_for_tiers": [],
            "settings": {
                "stability": 0.5,
                "similarity_boost": 0.75,
                "style": 0.0,
                "use_speaker_boost": true,
                "speed": 1.0,
            },
            "sharing": null,
            "high_quality_base_model_ids": [],
            "verified_languages": [],
            "collection_ids": [],
            "safety_control": null,
            "voice_verification": {
                "requires_verification": false,
                "is_verified": false,
                "verification_failures": [],
                "verification_attempts_count": 0,
                "language": null,
                "verification_attempts": null,
            },
            "permission_on_resource": if owned { json!("admin") } else { Value::Null },
            "is_owner": owned,
            "is_legacy": false,
            "is_mixed": false,
            "favorited_at_unix": null,
            "created_at_unix": if owned { json!(self.created_unix) } else { Value::Null },
        })
    }
}

impl Sample {
    fn json(&self) -> Value {
        json!({
            "sample_id": self.id,
            "file_name": self.file_name,
            "mime_type": self.mime_type,
            "size_bytes": self.size,
            "hash": self.hash,
        })
    }
}
